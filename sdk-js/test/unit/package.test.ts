import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { publint } from 'publint';
import { report } from '../../scripts/api.mjs';
import { scripts, weigh } from '../../scripts/build.mjs';
import { version } from '../../src/version.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (name: string) => readFileSync(join(root, name), 'utf8');

test.each(Object.entries(scripts))('%s keeps its limit', (name, { limit }) => {
  expect(weigh(name)).toBeLessThanOrEqual(limit);
});

test('api.md is as built: a change of it is a change for users (npm run api)', () => {
  expect(report()).toBe(read('api.md'));
});

test('one version everywhere, and no dependency', () => {
  const { version: published, dependencies } = JSON.parse(read('package.json')) as { version: string; dependencies?: object };
  expect(published).toBe(version);
  expect(dependencies).toBeUndefined();
  expect(read('CHANGELOG.md')).toContain(`## ${version}`);
});

test('the lock file names no registry', () => {
  expect(read('package-lock.json')).not.toMatch(/"resolved"/);
});

test('source maps stand beside every built file', () => {
  for (const name of [...Object.keys(scripts), 'cjs/index.js']) {
    const map = JSON.parse(read(`dist/${name}.map`)) as { sources: string[]; sourcesContent: string[] };
    expect(map.sources.join()).toContain('src/core/delivery.ts');
    expect(map.sourcesContent.length).toBe(map.sources.length);
  }
});

test('a bundler takes only what is imported', async () => {
  const { build } = await import('esbuild');
  const bundle = async (code: string) => {
    const { outputFiles } = await build({ stdin: { contents: code, resolveDir: root }, bundle: true, minify: true, format: 'esm', write: false, target: 'es2020', logLevel: 'error' });
    return outputFiles[0].text;
  };
  expect(await bundle("import '@tidegate/sdk-js'; import { errors } from '@tidegate/sdk-js/plugins/errors';")).toBe('');
  expect(await bundle("import { version } from '@tidegate/sdk-js'; console.log(version)")).not.toContain('localStorage');
});

test('what npm packs works from a clean folder: types, both module systems, nothing superfluous', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidegate-pack-'));
  try {
    const [{ filename, files }] = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) as [{ filename: string; files: { path: string }[] }];
    const paths = files.map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'MIGRATING.md', 'CHANGELOG.md', 'package.json', 'dist/tidegate.min.js', 'dist/analytics.min.js.map', 'dist/esm/index.d.ts', 'dist/cjs/package.json']));
    expect(paths.filter((path) => /^(src|test|scripts|examples|node_modules)\//.test(path))).toEqual([]);

    const installed = join(folder, 'node_modules', '@tidegate', 'sdk-js');
    mkdirSync(installed, { recursive: true });
    execFileSync('tar', ['xzf', join(folder, filename), '--strip-components=1', '-C', installed]);
    const { messages } = await publint({ pkgDir: installed, strict: true });
    expect(messages.filter(({ type }) => type !== 'suggestion')).toEqual([]);

    const names = ['', '/server', '/spool', '/segment', ...['autocapture', 'web-vitals', 'errors', 'engagement', 'linker', 'query-string'].map((name) => `/plugins/${name}`)].map((name) => `@tidegate/sdk-js${name}`);
    writeFileSync(join(folder, 'esm.mjs'), `const all = await Promise.all(${JSON.stringify(names)}.map((name) => import(name))); console.log(all.map((each) => Object.keys(each).length > 0).join())`);
    writeFileSync(join(folder, 'cjs.cjs'), `console.log(${JSON.stringify(names)}.map((name) => Object.keys(require(name)).length > 0).join())`);
    for (const program of ['esm.mjs', 'cjs.cjs']) expect(execFileSync(process.execPath, [program], { cwd: folder, encoding: 'utf8' }).trim()).toBe(names.map(() => 'true').join());

    const code = `import { load, type Plugin } from '@tidegate/sdk-js';
import { Analytics } from '@tidegate/sdk-js/server';
import { spool } from '@tidegate/sdk-js/spool';
import { AnalyticsBrowser } from '@tidegate/sdk-js/segment';
import { autocapture } from '@tidegate/sdk-js/plugins/autocapture';
const plugin: Plugin = autocapture({ forms: false });
const analytics = load<{ Bought: { total: number } }>({ writeKey: 'k', host: 'h', plugins: [plugin] });
void analytics.track('Bought', { total: 1 });
new Analytics({ writeKey: 'k', host: 'h', spool: spool('f') }).track({ userId: 'u', event: 'E' });
void AnalyticsBrowser.load({ writeKey: 'k', cdnURL: 'c' }).page();
`;
    for (const file of ['types.mts', 'types.cts']) writeFileSync(join(folder, file), code);
    writeFileSync(join(folder, 'package.json'), '{"private":true}');
    execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', 'types.mts', 'types.cts'], { cwd: folder, stdio: 'inherit' });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
