import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:http';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { tlsOf } from '../../../runtime/warehouses/postgres.ts';
import { openRedshift } from '../../../runtime/warehouses/redshift.ts';
import type { RedshiftSettings } from '../../../schemas/types.ts';
import { onEngine } from '../engine.ts';
import { missing } from '../postgres/cluster.ts';
import type { Compat } from './compat.ts';
import { startCompat } from './compat.ts';

const text = async (request: IncomingMessage): Promise<string> => {
  let body = '';
  for await (const piece of request) body += String(piece);
  return body;
};

onEngine(missing(), 'the Redshift adapter', () => {
  let engine: Compat;
  beforeAll(async () => {
    engine = await startCompat();
  });
  afterAll(() => engine.stop());

  const settings = (more: Partial<RedshiftSettings> = {}): RedshiftSettings => ({
    ...{ type: 'redshift', host: engine.host, port: engine.port, user: engine.user, dbname: engine.database },
    ...{ sslmode: 'disable', ...more },
  });
  /** The same, with no user. */
  const nobody = (more: Partial<RedshiftSettings> = {}): RedshiftSettings =>
    Object.fromEntries(
      Object.entries(settings(more)).filter(([name]) => name !== 'user'),
    ) as unknown as RedshiftSettings;
  const open = (more: Partial<RedshiftSettings> = {}, now = () => 0) =>
    openRedshift({ readFile: () => Promise.resolve(undefined), now }, settings(more), { dir: '.' });
  const query = (sql: string, value?: string) => ({
    sql,
    label: 's/capture.sql',
    binds: value === undefined ? [] : [{ name: 'pending', type: 'text' as const, value }],
  });

  test('rows come in pieces through a portal, with numbers as numbers and the rest as text', async () => {
    const connection = await (await open()).connect();
    const sizes: number[] = [];
    for await (const rows of connection.stream(
      query(
        'select cast(i as bigint) as i, cast(1.50 as numeric(9,2)) as d from pg_catalog.generate_series(1, 5000) as s(i)',
      ),
    ))
      sizes.push(rows.length);
    expect(sizes).toEqual([2000, 2000, 1000]);
    expect(await connection.rows(query("select cast($1 as varchar(65535)) as t, object('a', 1) as o", 'é'))).toEqual([
      { t: 'é', o: '{"a": 1}' },
    ]);
    await connection.close();
  });

  test('closing a warehouse ends the connections that an error left open', async () => {
    const warehouse = await open();
    const connection = await warehouse.connect();
    await warehouse.close();
    await expect(connection.rows(query('select 1 as x'))).rejects.toMatchObject({ code: 'warehouse-unavailable' });
    await connection.close();
  });

  test('a text that a cast would cut is refused before it is sent', async () => {
    const connection = await (await open()).connect();
    const bound = (n: number) => query('select octet_length(cast($1 as varchar(65535))) as n', 'x'.repeat(n));
    expect(await connection.rows(bound(65_535))).toEqual([{ n: 65_535 }]);
    await expect(connection.rows(bound(65_536))).rejects.toMatchObject({
      code: 'value-invalid',
      message: 's/capture.sql: pending is longer than a text of Redshift (64 KB).',
    });
    await expect(connection.execute(bound(65_536))).rejects.toMatchObject({ code: 'value-invalid' });
    await connection.close();
  });

  test.each([
    [
      '1023',
      'Serializable isolation violation on table - 100, transactions forming the cycle are: 1, 2',
      /another transaction wrote a table/,
    ],
    ['1018', 'Relation does not exist', /a table was replaced while it was used/],
  ])('error %s ends the attempt, and the next one may do better', async (message, detail, told) => {
    const connection = await (await open()).connect();
    const raise = `do $$ begin raise exception using message = '${message}', detail = '${detail}'; end $$`;
    await expect(connection.execute(query(raise))).rejects.toMatchObject({
      code: 'warehouse-conflict',
      retryable: true,
      message: expect.stringMatching(told) as string,
    });
    await expect(connection.execute(query('select 1018 from nowhere'))).rejects.toMatchObject({ retryable: false });
    await connection.close();
  });

  test('a password is in no error, be it of the target or of AWS', async () => {
    await aws(() => [200, xml('GetClusterCredentials', '2100-01-01T00:00:00Z').replace('>p<', '>temporary-one<')]);
    for (const [password, more] of [
      ['of the target', { password: 'of the target' }],
      ['temporary-one', { ...iam, cluster_id: 'shop', user: 'sync' }],
    ] as const) {
      const connection = await (await open(more)).connect();
      const raise = `do $$ begin raise exception 'as ${password}'; end $$`;
      await expect(connection.execute(query(raise))).rejects.toThrow('s/capture.sql: as ***');
      await connection.close();
    }
  });

  test('without a user or a method that gives one nothing is opened', async () => {
    await expect(
      openRedshift({ readFile: () => Promise.resolve(undefined), now: () => 0 }, nobody(), { dir: '.' }),
    ).rejects.toThrow('The target has no `user`');
  });

  test('a connection is verified unless the target says otherwise, by the authorities of a file that can be read', async () => {
    const plain = Object.fromEntries(
      Object.entries(settings()).filter(([name]) => name !== 'sslmode'),
    ) as unknown as RedshiftSettings;
    const read = (file: string) => Promise.resolve(file.endsWith('ca.pem') ? 'an authority' : undefined);
    const over = (more: Partial<RedshiftSettings>) =>
      openRedshift({ readFile: read, now: () => 0 }, { ...plain, ...more }, { dir: '.' });
    await expect((await over({})).connect()).rejects.toThrow(
      `The warehouse warehouse on 127.0.0.1:${engine.port} takes no TLS. Turn it on there, or say \`sslmode: disable\``,
    );
    await expect(over({ sslrootcert: 'nothing.pem' })).rejects.toThrow('nothing.pem cannot be read (there is none)');
    // It then trusts the authorities of that file, and proves the host's name too: the driver does so unless it is told otherwise.
    expect(await tlsOf({ readFile: read }, { host: 'h', sslrootcert: 'ca.pem' }, '.')).toEqual({
      rejectUnauthorized: true,
      ca: 'an authority',
    });
  });

  const closing: (() => void)[] = [];
  afterEach(() => closing.splice(0).forEach((close) => close()));
  /** AWS, as far as temporary credentials go. */
  async function aws(answer: (body: string, target: string) => readonly [number, string]): Promise<string[]> {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      void text(request).then((body) => {
        const target = String(request.headers['x-amz-target'] ?? '');
        asked.push(`${target} ${decodeURIComponent(body)}`.trim());
        const [status, content] = answer(body, target);
        response.writeHead(status, { 'content-type': target === '' ? 'text/xml' : 'application/x-amz-json-1.1' });
        response.end(content);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const names = ['AWS_ENDPOINT_URL', 'AWS_REGION', 'AWS_MAX_ATTEMPTS'] as const;
    const before = names.map((name) => process.env[name]);
    Object.assign(process.env, { AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`, AWS_MAX_ATTEMPTS: '1' });
    closing.push(() => {
      server.close();
      names.forEach((name, i) => {
        if (before[i] === undefined) Reflect.deleteProperty(process.env, name);
        else process.env[name] = before[i];
      });
    });
    return asked;
  }
  const iam = {
    method: 'iam',
    region: 'eu-west-1',
    access_key_id: 'AKIDEXAMPLE',
    secret_access_key: 'secret',
  } as const;
  const xml = (of: string, until: string): string =>
    `<${of}Response xmlns="http://redshift.amazonaws.com/doc/2012-12-01/"><${of}Result><DbUser>${engine.user}</DbUser><DbPassword>p</DbPassword><Expiration>${until}</Expiration></${of}Result></${of}Response>`;

  test('credentials of a cluster are asked for once, and anew before they end', async () => {
    const asked = await aws(() => [200, xml('GetClusterCredentials', '1970-01-01T00:15:00Z')]);
    let now = 0;
    const warehouse = await open(
      { ...iam, cluster_id: 'shop', user: 'sync', autocreate: true, db_groups: ['etl'] },
      () => now,
    );
    for (const at of [0, 800_000, 850_000]) {
      now = at;
      const connection = await warehouse.connect();
      expect(await connection.rows(query('select current_user as who'))).toEqual([{ who: engine.user }]);
      await connection.close();
    }
    expect(asked).toHaveLength(2);
    for (const part of [
      'Action=GetClusterCredentials&',
      'ClusterIdentifier=shop',
      'DbUser=sync',
      'AutoCreate=true',
      'DbName=warehouse',
      '=etl',
    ])
      expect(asked[0]).toContain(part);
  });

  test('credentials of an identity, and of a workgroup', async () => {
    const asked = await aws((_, target) =>
      target === ''
        ? [200, xml('GetClusterCredentialsWithIAM', '2100-01-01T00:00:00Z')]
        : [200, JSON.stringify({ dbUser: engine.user, dbPassword: 'p', expiration: 4_102_444_800 })],
    );
    await (
      await (
        await openRedshift(
          { readFile: () => Promise.resolve(undefined), now: () => 0 },
          nobody({ ...iam, cluster_id: 'shop' }),
          { dir: '.' },
        )
      ).connect()
    ).close();
    expect(asked[0]).toContain('Action=GetClusterCredentialsWithIAM&');
    await (await (await open({ ...iam, serverless_work_group: 'wg' })).connect()).close();
    expect(asked[1]).toBe('RedshiftServerless.GetCredentials {"dbName":"warehouse","workgroupName":"wg"}');
  });

  test('what AWS refuses is one sentence, without the secret', async () => {
    await aws(() => [
      403,
      `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>${iam.secret_access_key} is not authorized to perform this</Message></Error></ErrorResponse>`,
    ]);
    await expect((await open({ ...iam, cluster_id: 'shop' })).connect()).rejects.toThrow(
      /^AWS gives no credentials for shop: \*\*\* is not authorized to perform this\. Check `region`/,
    );
    await expect((await open(iam)).connect()).rejects.toThrow('The host 127.0.0.1 names no cluster');
  });
});
