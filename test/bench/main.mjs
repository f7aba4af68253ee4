/** Ratios measured in one run: `npm run bench [topic]`. Needs `npm run build`. */
const TOPICS = ['start', 'compile', 'unchanged', 'delivery', 'profiles', 'lookup', 'peers'];

const [only] = process.argv.slice(2);
if (only !== undefined && !TOPICS.includes(only)) {
  console.error(`there is no topic ${only}: ${TOPICS.join(', ')}`);
  process.exit(2);
}
for (const topic of only === undefined ? TOPICS : [only]) await import(`./${topic}.mjs`);
