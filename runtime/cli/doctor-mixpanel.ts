import { existsSync } from 'node:fs';
import path from 'node:path';
import { RunError } from '../errors.ts';
import type { AppApi } from '../mixpanel/app.ts';
import { groupKeysOf, projectsOf } from '../mixpanel/app.ts';
import type { Loaded } from './context.ts';
import { connection, FoundBefore } from './context.ts';
import type { Find } from './doctor.ts';
import type { OpenMixpanel } from './mixpanel.ts';
import { openMixpanel } from './mixpanel.ts';
import { some } from './report.ts';

/** Whether Mixpanel is there, knows the credentials and the project, and has what the syncs need. */
export async function checkMixpanel(loaded: Loaded, find: Find): Promise<void> {
  const settings = (await connection(loaded.dir, loaded.project)).mixpanel;
  const isSandbox = settings === 'sandbox';
  if (isSandbox && !existsSync(path.join(loaded.dir, 'sandbox.duckdb')))
    return find('ok', 'mixpanel', 'The sandbox in this process; `apply` makes its file sandbox.duckdb.');
  if (!isSandbox) checkSettings(loaded, settings, find);
  let remote: OpenMixpanel;
  try {
    remote = await openMixpanel(loaded.dir, loaded.project);
  } catch (error) {
    return find('fail', 'mixpanel', messageOf(error));
  }
  try {
    const id = isSandbox ? '1' : settings.projectId;
    const known = remote.app ? await checkAccount(remote.app, id, find) : false;
    await remote.check(new AbortController().signal).then(
      () => find('ok', 'ingestion', 'Mixpanel takes records with these credentials (an empty one, which it refused).'),
      (error: unknown) => find('fail', 'ingestion', messageOf(error)),
    );
    if (!isSandbox) await checkGroupKeys(loaded, known ? remote.app : undefined, id ?? '', find);
  } finally {
    await remote.close();
  }
}

function messageOf(error: unknown): string {
  if (error instanceof RunError || error instanceof FoundBefore) return error.message;
  throw error;
}

interface Settings {
  readonly token?: string;
  readonly serviceAccount?: unknown;
}

/** What the kinds of the syncs need to be sent. */
function checkSettings({ syncs, direct }: Loaded, { token, serviceAccount }: Settings, find: Find): void {
  const named = (...kinds: readonly string[]): string =>
    some(
      [...syncs, ...direct].filter((s) => kinds.includes(s.kind)).map((s) => s.name),
      5,
    );
  const profiles = named('user_profiles', 'group_profiles');
  if (profiles !== '' && (token ?? '') === '')
    find(
      'fail',
      'token',
      `Profiles are sent with the project's token, and the target has none (${profiles}). Set token.`,
    );
  const tables = named('lookup_table');
  if (tables !== '' && serviceAccount === undefined)
    find(
      'fail',
      'service account',
      `Lookup tables need one, and the target has none (${tables}). Set service_account.`,
    );
}

/** @returns whether the account may be asked for more */
async function checkAccount(app: AppApi, id: string | undefined, find: Find): Promise<boolean> {
  const say = (level: 'ok' | 'warn' | 'fail', message: string): boolean => {
    find(level, 'service account', message);
    return level !== 'fail';
  };
  try {
    const { status, results } = await app.get('/api/app/me');
    if (status === 401 || status === 403)
      return say(
        'fail',
        `${app.host} refuses ${app.username} (status ${status}). Check its secret and whether it expired, and the region: an account of a project in another region gets the same answer.`,
      );
    if (status !== 200 || results === undefined)
      return say('warn', `${app.host} does not say who ${app.username} is (status ${status}).`);
    const projects = projectsOf(results);
    if (!projects) return say('ok', `${app.host} knows ${app.username}.`);
    if (id === undefined || !projects.has(id))
      return say(
        'fail',
        `${app.username} is no member of project ${id ?? ''} (it sees ${some([...projects.keys()], 5) || 'none'}). Check project_id.`,
      );
    const role = projects.get(id);
    if (role !== undefined && !/^(owner|admin)$/i.test(role))
      return say('warn', `${app.username} is ${role} of project ${id}; importing takes the role Admin or Owner.`);
    return say('ok', `${app.host} knows ${app.username} as a member of project ${id}.`);
  } catch (error) {
    return say('fail', messageOf(error));
  }
}

/** Group profiles of a key that the project does not have are lost without a word. */
async function checkGroupKeys(loaded: Loaded, app: AppApi | undefined, id: string, find: Find): Promise<void> {
  const chosen = new Set([...loaded.syncs, ...loaded.direct].map((s) => s.name));
  const wanted = loaded.project.syncs.flatMap((s) => (chosen.has(s.name) && s.groupKey !== null ? [s.groupKey] : []));
  const unique = [...new Set(wanted)];
  if (unique.length === 0) return;
  const reply = await app?.get(`/api/app/projects/${id}/data-groups/`).catch(() => undefined);
  const known = reply?.status === 200 ? groupKeysOf(reply.results) : undefined;
  const settings = 'Project Settings, Group Keys';
  if (!known)
    return find(
      'warn',
      'group keys',
      `Mixpanel does not say which it has. Look whether ${settings} has ${some(unique, 5)}.`,
    );
  const missing = unique.filter((key) => !known.includes(key));
  if (missing.length === 0) return find('ok', 'group keys', `The project has ${some(unique, 5)}.`);
  find(
    'fail',
    'group keys',
    `The project has no ${some(missing, 5)}: group profiles would be lost. Add it in ${settings}.`,
  );
}
