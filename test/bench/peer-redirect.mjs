/** Leads mixpanel-import to the origin in SANDBOX: it has no option for its host. */
import { createRequire } from 'node:module';

const theirs = createRequire(createRequire(import.meta.url).resolve('mixpanel-import'));
const undici = theirs('undici');
undici.Pool = class extends undici.Pool {
  constructor(_, options) {
    super(process.env.SANDBOX, { ...options, connect: undefined, tls: undefined });
  }
};
