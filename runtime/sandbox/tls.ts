import { webcrypto } from 'node:crypto';
import { MIXPANEL_HOSTS } from './proxy.ts';

/** A certificate authority of this process, and a certificate that it signed; all PEM. */
export interface SandboxTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const KEYS = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const;
const DAY = 86_400_000;

/**
 * Makes a certificate authority and a certificate for Mixpanel's hosts and for this machine. The
 * keys and the signatures are Node's own; the library only lays out the certificates, so no openssl is needed.
 */
export async function makeTls(now: number): Promise<SandboxTls> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const { subtle } = webcrypto;
  const authority = await subtle.generateKey(KEYS, true, ['sign', 'verify']);
  const leaf = await subtle.generateKey(KEYS, true, ['sign', 'verify']);
  const valid = { notBefore: new Date(now - DAY), notAfter: new Date(now + 90 * DAY), signingAlgorithm: SIGNING };
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...valid,
    name: 'CN=syncline sandbox',
    keys: authority,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(authority.publicKey),
    ],
  });
  const cert = await x509.X509CertificateGenerator.create({
    ...valid,
    subject: 'CN=api.mixpanel.com',
    issuer: ca.subject,
    publicKey: leaf.publicKey,
    signingKey: authority.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        ...[...MIXPANEL_HOSTS, 'localhost'].map((value) => ({ type: 'dns' as const, value })),
        { type: 'ip', value: '127.0.0.1' },
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(leaf.publicKey),
    ],
  });
  const key = Buffer.from(await subtle.exportKey('pkcs8', leaf.privateKey));
  return { ca: `${ca.toString('pem')}\n`, cert: `${cert.toString('pem')}\n`, key: pem('PRIVATE KEY', key) };
}

const pem = (label: string, der: Buffer): string =>
  `-----BEGIN ${label}-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END ${label}-----\n`;
