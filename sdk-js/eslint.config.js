// @ts-check
import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

export const config = defineConfig(
  { ignores: ['dist/', 'node_modules/', 'examples/'] },
  eslint.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { project: ['tsconfig.json', 'tsconfig.test.json'], tsconfigRootDir: import.meta.dirname } },
    rules: {
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true, named: true, defaultFrom: true, namedFrom: true, namespaceFrom: true } }],
      'no-console': ['error', { allow: ['error', 'log'] }],
      'max-lines': ['error', { max: 500 }],
      'max-lines-per-function': ['error', { max: 70, skipComments: true, skipBlankLines: true }],
      eqeqeq: 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidOperator: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-unnecessary-condition': 'error',
      '@typescript-eslint/dot-notation': 'off', // index signatures are read with brackets
      '@typescript-eslint/prefer-nullish-coalescing': 'off', // an empty text is often none, and || is shorter
      '@typescript-eslint/non-nullable-type-assertion-style': 'off', // `as string` says what it is taken for
      '@typescript-eslint/unbound-method': 'off', // factories make closures, which need no this
      '@typescript-eslint/no-invalid-void-type': 'off', // plugins may return nothing
    },
  },
  {
    files: ['test/**', 'scripts/**', '*.js', '*.ts'],
    rules: {
      'no-console': 'off',
      'max-lines-per-function': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/await-thenable': 'off', // what may be a promise is awaited
      '@typescript-eslint/no-extraneous-class': 'off',
      '@typescript-eslint/no-dynamic-delete': 'off',
    },
  },
  // A factory is this package's class: its closures are the methods, which are short.
  { files: ['src/core/{browser,delivery,queue,pipeline}.ts', 'src/plugins/*.ts'], rules: { 'max-lines-per-function': 'off' } },
  { files: ['**/*.mjs', '**/*.js'], extends: [tseslint.configs.disableTypeChecked], languageOptions: { globals: { process: 'readonly', console: 'readonly', setTimeout: 'readonly', URL: 'readonly' } } },
);

// eslint-disable-next-line no-restricted-exports -- ESLint looks for a default export
export { config as default };
