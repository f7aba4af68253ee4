/** Leads TLS connections to Mixpanel's hosts to SANDBOX_PORT of this machine; the names that are verified stay. */
import tls from 'node:tls';

const { connect } = tls;
tls.connect = (...args) => {
  const [options] = args;
  const name = options?.servername ?? options?.hostname ?? options?.host ?? '';
  if (typeof options !== 'object' || !/(^|\.)mixpanel\.com$/.test(name)) return connect(...args);
  args[0] = { ...options, host: '127.0.0.1', hostname: '127.0.0.1', port: process.env.SANDBOX_PORT, servername: name };
  return connect(...args);
};
