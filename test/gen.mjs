// Generates schemas/types.ts from schemas/*.schema.json; --check fails when it is stale.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { compile } from 'json-schema-to-typescript';

const folder = path.join(import.meta.dirname, '../schemas');
const names = readdirSync(folder)
  .filter((n) => n.endsWith('.schema.json'))
  .sort();
const parts = ['// Generated from the JSON Schemas beside this file by `npm run gen`. Do not edit.\n'];
for (const name of names) {
  const schema = JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
  parts.push(
    await compile({ ...schema, $defs: schema.$defs }, schema.title, {
      // References between the schemas are by file name.
      cwd: folder,
      bannerComment: '',
      additionalProperties: false,
      format: true,
      style: { singleQuote: true, printWidth: 120 },
      unreachableDefinitions: false,
      ignoreMinAndMaxItems: true,
    }),
  );
}
const text = parts.join('\n');
const file = path.join(folder, 'types.ts');
if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== text) {
    console.error('schemas/types.ts is stale: run `npm run gen`.');
    process.exit(1);
  }
} else writeFileSync(file, text);
