/** What a job or a request fails with. */
export class Refusal extends Error {
  readonly reason: string;

  /** @param reason as documented (Error messages), which the HTTP status follows from */
  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

const STATUS: Readonly<Record<string, number>> = {
  accessDenied: 403,
  rateLimitExceeded: 403,
  quotaExceeded: 403,
  responseTooLarge: 403,
  billingNotEnabled: 403,
  notFound: 404,
  duplicate: 409,
  stopped: 499,
  internalError: 500,
  notImplemented: 501,
  backendError: 503,
};
export const statusOf = (reason: string): number => STATUS[reason] ?? 400;
export const problemOf = ({ reason, message }: Refusal): Record<string, unknown> => ({
  reason,
  message,
  location: 'query',
});

/** An answer of the service that is an error. */
export const errorOf = (refusal: Refusal): Record<string, unknown> => ({
  error: {
    code: statusOf(refusal.reason),
    message: refusal.message,
    errors: [{ domain: 'global', ...problemOf(refusal) }],
  },
});
