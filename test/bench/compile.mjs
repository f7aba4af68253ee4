/** Compiling 1,000 syncs against the bare parse of their files. */
import path from 'node:path';
import { parseDocument } from 'yaml';
import { least, ratio, root } from './common.mjs';

const { compile } = await import(path.join(root, 'dist/compiler/compile.js'));
const { readTemplates } = await import(path.join(root, 'dist/compiler/templates.js'));
const templates = await readTemplates(path.join(root, 'templates'));

const YML = 'name: b\ndefault_target: d\ntargets: { d: { warehouse: { type: duckdb, path: x }, mixpanel: sandbox } }\n';
const ROLES = [
  { name: 'order_id', type: 'INTEGER' },
  { name: 'ordered_at', type: 'TIMESTAMP' },
  { name: 'customer_id', type: 'VARCHAR' },
];
const TYPES = ['VARCHAR', 'BIGINT', 'DECIMAL(18,2)', 'DOUBLE', 'BOOLEAN', 'DATE', 'TIMESTAMP WITH TIME ZONE'];

/** 100 files with ten syncs each, over the sources that `source` names. */
function projectOf(source, columns) {
  const files = { 'syncline.yml': YML };
  const sources = {};
  for (let f = 0; f < 100; f++) {
    const syncs = Array.from({ length: 10 }, (_, i) => {
      const n = f * 10 + i;
      sources[source(n)] = { columns: [...columns(n), ...ROLES] };
      return `  - name: s${f}_${i}
    kind: events
    mode: mirror
    source: { relation: ${source(n)} }
    event: Purchase Completed
    time: ordered_at
    user_id: customer_id
    key: order_id
    guard: { max_deletes: 10%, on_empty_source: fail }
    owner: { name: Growth, email: growth@example.com }
    tags: [growth, nightly]
`;
    });
    files[`syncs/f${f}.yml`] = `syncs:\n${syncs.join('')}`;
  }
  files['syncline.lock.json'] = JSON.stringify({ lockVersion: 1, targets: { d: { sources } } });
  return files;
}

const projects = {
  'one source': projectOf(
    () => 'main.orders',
    () => Array.from({ length: 12 }, (_, i) => ({ name: `c${i}`, type: 'VARCHAR' })),
  ),
  '1,000 sources with columns of their own': projectOf(
    (n) => `main.orders_${n}`,
    (n) => Array.from({ length: 8 + (n % 9) }, (_, i) => ({ name: `c${n}_${i}`, type: TYPES[(n + i) % TYPES.length] })),
  ),
};
for (const [name, files] of Object.entries(projects)) {
  const texts = Object.entries(files).filter(([file]) => file.endsWith('.yml'));
  const bare = least(12, () => texts.forEach(([, text]) => parseDocument(text).toJS()));
  const ours = least(12, () => {
    const { plan, diagnostics } = compile({ files, templates });
    if (!plan) throw new Error(JSON.stringify(diagnostics.slice(0, 3)));
  });
  ratio(`compile of 1,000 syncs, ${name}`, ours, bare, 4);
}
