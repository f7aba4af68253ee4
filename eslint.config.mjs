import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Imports run one way: runtime/cli → compiler, runtime → schemas. Compiler and runtime meet only at the plan. */
const forbid = (message, ...folders) => ({
  'no-restricted-imports': ['error', { patterns: [{ group: folders.map((f) => `**/${f}/**`), message }] }],
  // That rule knows no `import()`, whose name must be written out to be judged.
  'no-restricted-syntax': [
    'error',
    ...folders.map((f) => ({ selector: `ImportExpression[source.value=/(^|\\/)${f}\\//]`, message })),
    { selector: "ImportExpression[source.type!='Literal']", message: 'import() takes a name in quotes' },
  ],
});

export default tseslint.config(
  { ignores: ['dist', 'node_modules', '**/target', 'schemas/types.ts', '.library', '.cache'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      '@typescript-eslint/dot-notation': 'off',
      '@typescript-eslint/only-throw-error': ['error', { allowThrowingUnknown: true }],
      // A promise that is aborted rejects with the signal's reason, which has no type.
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      'no-console': 'error',
      'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: ['compiler/**/*.ts'],
    rules: forbid('compiler and runtime meet only at the plan', 'runtime'),
  },
  {
    files: ['runtime/**/*.ts'],
    ignores: ['runtime/cli/**'],
    rules: forbid('only runtime/cli may import the compiler', 'compiler', 'cli'),
  },
  {
    files: ['schemas/**/*.ts'],
    rules: forbid('schemas import nothing', 'compiler', 'runtime'),
  },
  {
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off', 'max-lines': ['error', { max: 600 }] },
  },
  {
    files: ['**/*.mjs'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        URL: 'readonly',
        setTimeout: 'readonly',
        Buffer: 'readonly',
        fetch: 'readonly',
        performance: 'readonly',
      },
    },
  },
);
