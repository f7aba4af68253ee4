import type { RunCounts } from '../schemas/types.ts';

export type { RunCounts };

/** What a run tells: reports and manifests consume these, the runtime never prints. */
export type RunEvent =
  | { readonly type: 'waiting'; readonly sync: string; readonly message: string }
  | { readonly type: 'begin'; readonly sync: string; readonly run: number; readonly resumed: boolean }
  | { readonly type: 'step'; readonly sync: string; readonly step: string }
  | {
      readonly type: 'captured';
      readonly sync: string;
      readonly records: number;
      readonly invalid: number;
      readonly batches: number;
    }
  | { readonly type: 'sent'; readonly sync: string; readonly records: number; readonly total: number }
  | { readonly type: 'note'; readonly sync: string; readonly message: string }
  | { readonly type: 'committed'; readonly sync: string; readonly run: number; readonly counts: RunCounts }
  | {
      readonly type: 'unchanged';
      readonly sync: string;
      readonly run: number;
      /** A one_time sync that has sent its table. */
      readonly done: boolean;
    };
