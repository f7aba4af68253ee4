export type RunErrorCode =
  | 'lease-held'
  | 'lease-lost'
  | 'state-missing'
  | 'state-foreign'
  | 'state-newer'
  | 'mapping-changed'
  | 'check-failed'
  | 'guard'
  | 'columns-drifted'
  | 'source-unreadable'
  | 'warehouse-unavailable'
  | 'warehouse-error'
  | 'file-locked'
  | 'mixpanel-unauthorized'
  | 'mixpanel-unreachable'
  | 'mixpanel-rejected'
  | 'retries-exhausted'
  | 'compiled-differs'
  | 'accounts-differ'
  | 'interrupted'
  | 'value-invalid'
  | 'disk';

/** What ended a run. The message is one sentence or two, for a person, and says what to do. */
export class RunError extends Error {
  readonly code: RunErrorCode;
  /** True when the same command may succeed later without a change by a person. */
  readonly retryable: boolean;

  constructor(code: RunErrorCode, message: string, options: { readonly retryable: boolean; readonly cause?: unknown }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable;
  }
}

/** Replaces secrets before a text leaves the runtime. */
export function maskSecrets(text: string, secrets: readonly string[]): string {
  return secrets.filter((s) => s.length > 0).reduce((t, s) => t.replaceAll(s, '***'), text);
}
