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
  | 'not-found'
  | 'warehouse-unavailable'
  | 'warehouse-error'
  | 'warehouse-conflict'
  | 'file-locked'
  | 'mixpanel-unauthorized'
  | 'mixpanel-unreachable'
  | 'mixpanel-rejected'
  | 'retries-exhausted'
  | 'compiled-differs'
  | 'preview-moved'
  | 'accounts-differ'
  | 'interrupted'
  | 'value-invalid'
  | 'disk';

export interface RunErrorOptions {
  readonly retryable: boolean;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** What ended a run. The message is one sentence or two, for a person, and says what to do. */
export class RunError extends Error {
  override readonly name = 'RunError';
  readonly code: RunErrorCode;
  /** What more a person may try or look at. */
  readonly hint?: string;
  /** True when the same command may succeed later without a change by a person. */
  readonly retryable: boolean;

  constructor(code: RunErrorCode, message: string, options: RunErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable;
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

export const previewMoved = (sync: string): RunError =>
  new RunError(
    'preview-moved',
    `${sync} ran or was reset since the preview was written, so its counts are of another state. Run \`syncline plan --out\` again and have it reviewed.`,
    { retryable: false },
  );

/**
 * Replaces secrets before a text leaves the runtime, also as they look inside JSON, a URL or a Basic header.
 * One pass, longest first: a secret that contains another one disappears whole. What is shorter than four characters
 * is masked only as a whole word: letters inside words give nothing away, and the message stays readable.
 */
export function maskSecrets(text: string, secrets: readonly string[]): string {
  const looks = secrets
    .filter((s) => s.length > 0)
    .flatMap((s) => [
      s,
      JSON.stringify(s).slice(1, -1),
      encodeURIComponent(s.replace(/\p{Surrogate}/gu, '\ufffd')),
      base64(s),
      base64(`${s}:`),
    ]);
  if (looks.length === 0) return text;
  const longestFirst = [...new Set(looks)].sort((a, b) => b.length - a.length);
  return text.replace(new RegExp(longestFirst.map(patternOf).join('|'), 'gu'), '***');
}

/** The same error, without secrets. */
export const masked = (error: RunError, secrets: readonly string[]): RunError =>
  new RunError(error.code, maskSecrets(error.message, secrets), {
    retryable: error.retryable,
    hint: error.hint === undefined ? undefined : maskSecrets(error.hint, secrets),
    cause: error.cause,
  });

const WORD = '[\\p{L}\\p{M}\\p{N}_]';
const patternOf = (look: string): string => {
  const escaped = look.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
  return look.length < 4 ? `(?<!${WORD})${escaped}(?!${WORD})` : escaped;
};
const base64 = (text: string): string => Buffer.from(text).toString('base64');
