// Builds dist/: ESM and CommonJS with types, and the IIFE files for script elements.
// `node scripts/build.mjs` prints the sizes; a test holds them to their limits.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import * as esbuild from 'esbuild';
import { minify } from 'terser';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');

/** Modules that users import; package.json names the same ones. */
const modules = [
  'index', 'server', 'spool', 'segment',
  'plugins/autocapture', 'plugins/web-vitals', 'plugins/errors', 'plugins/engagement', 'plugins/linker', 'plugins/query-string',
];

/** IIFE files and what they may weigh after gzip, in bytes. */
export const scripts = {
  'tidegate.min.js': { entry: 'src/entry/global.ts', limit: 6 * 1024 },
  'tidegate.all.min.js': { entry: 'src/entry/everything.ts', limit: 12 * 1024 },
  'analytics.min.js': { entry: 'src/entry/segment-global.ts', limit: 12 * 1024 },
};

/** Names of members that no user and no browser knows, made short in the IIFE files. */
const internal = /^(adopt|leave|wake|hide|online|persist|takeOver|become|busy|serial|batchBytes|keepaliveBytes|renew|back|take|ids|done|callback|release|clear|show|use|stop|run|bytes)$/;

const common = { absWorkingDir: root, bundle: true, target: 'es2020', sourcemap: true, sourcesContent: true, logLevel: 'warning', charset: 'utf8' };

async function buildScript(name, entry) {
  const built = await esbuild.build({
    ...common, target: 'es2021', entryPoints: [entry], format: 'iife', write: false, outfile: join(dist, name),
    minifySyntax: true, minifyWhitespace: true, mangleProps: internal, legalComments: 'none',
  });
  const file = (suffix) => built.outputFiles.find(({ path }) => path.endsWith(suffix)).text;
  const { code, map } = await minify(file('.js'), {
    ecma: 2021, toplevel: true,
    compress: { passes: 3, unsafe_arrows: true, unsafe: true, unsafe_methods: true, unsafe_comps: true, pure_getters: true, keep_fargs: false, hoist_props: true, hoist_funs: true, inline: 3 },
    mangle: { toplevel: true },
    sourceMap: { content: file('.js.map'), filename: name, url: `${name}.map`, includeSources: true },
  });
  writeFileSync(join(dist, name), code);
  writeFileSync(join(dist, `${name}.map`), map);
}

/** The size of a file after gzip. */
export const weigh = (name) => gzipSync(readFileSync(join(dist, name)), { level: 9 }).length;

async function main() {
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  const entryPoints = modules.map((name) => ({ in: join('src', `${name}.ts`), out: name }));
  await esbuild.build({ ...common, entryPoints, format: 'esm', splitting: true, chunkNames: 'chunks/[name]-[hash]', outdir: join(dist, 'esm'), external: ['node:*'] });
  await esbuild.build({ ...common, entryPoints, format: 'cjs', outdir: join(dist, 'cjs'), external: ['node:*'] });
  writeFileSync(join(dist, 'cjs', 'package.json'), '{"type":"commonjs"}\n');
  for (const [name, { entry }] of Object.entries(scripts)) await buildScript(name, entry);
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.types.json')], { stdio: 'inherit' });
  cpSync(join(dist, 'types'), join(dist, 'cjs'), { recursive: true });
  cpSync(join(dist, 'types'), join(dist, 'esm'), { recursive: true });
  rmSync(join(dist, 'types'), { recursive: true });
  for (const [name, { limit }] of Object.entries(scripts)) {
    console.log(`${name.padEnd(22)} ${String(weigh(name)).padStart(6)} bytes gzip of at most ${limit}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
