import path from 'node:path';
import { renderConnection } from '../../compiler/project/resolve.ts';
import { realWorld } from '../world.ts';
import { differsFromReviewed } from './compile.ts';
import type { CommonOptions, Loaded } from './context.ts';
import { load, out } from './context.ts';
import { checkMixpanel } from './doctor-mixpanel.ts';
import { checkWarehouse } from './doctor-warehouse.ts';
import { count } from './report.ts';

/** One thing that was looked at. */
export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  readonly check: string;
  /** What is so, and where it is not well what to do. */
  readonly message: string;
}

/** Takes a finding of one check. */
export type Find = (level: Finding['level'], check: string, message: string) => void;

/** Looks at all that an `apply` needs, and changes nothing. Each finding is printed as it is made. */
export async function doctor(options: CommonOptions & { readonly output?: string }): Promise<number> {
  const loaded = await load(options);
  const findings: Finding[] = [];
  const find: Find = (level, check, message) => {
    findings.push({ level, check, message });
    const hidden = options.output === 'json' || (options.quiet === true && level === 'ok');
    if (!hidden) out(`${level.padEnd(4)}  ${check}: ${message}`);
  };
  const { plan, syncs, direct } = loaded;
  find('ok', 'project', `${count(syncs.length + direct.length, 'sync')} for target ${plan.target}.`);
  await checkCompiled(loaded, find);
  const ready = checkEnvironment(loaded, find);
  if (ready.warehouse) await checkWarehouse(loaded, options, find);
  if (ready.mixpanel) await checkMixpanel(loaded, find);
  if (options.output === 'json') out(JSON.stringify(findings, null, 2));
  return findings.some((f) => f.level === 'fail') ? 1 : 0;
}

async function checkCompiled(loaded: Loaded, find: Find): Promise<void> {
  const { dir, plan } = loaded;
  const differing = await differsFromReviewed(loaded);
  if (differing !== undefined) return find('fail', 'compiled', differing);
  const isCompiled = (await realWorld.readFile(path.join(dir, 'compiled', plan.target, 'plan.json'))) !== undefined;
  const same = 'Nothing that was reviewed differs from what would run.';
  const none = 'Nothing is compiled yet, so nothing was reviewed; `syncline compile` writes what would run.';
  find('ok', 'compiled', isCompiled ? same : none);
}

/** @returns which sides can be connected to: the other may be checked where a variable of one is missing */
function checkEnvironment(
  { project }: Loaded,
  find: Find,
): { readonly warehouse: boolean; readonly mixpanel: boolean } {
  const { target } = project;
  const errorsOf = (part: typeof target) =>
    renderConnection(part, process.env).diagnostics.filter((d) => d.severity === 'error');
  const errors = errorsOf(target);
  for (const { message, hint } of errors)
    find('fail', 'environment', `${message}${hint === undefined ? '' : `: ${hint}`}.`);
  if (errors.length === 0) find('ok', 'environment', 'No variable is missing.');
  const isWarehouse = errorsOf({ ...target, mixpanel: 'sandbox' }).length === 0;
  return { warehouse: isWarehouse, mixpanel: errors.length === 0 };
}
