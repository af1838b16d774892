import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const binary = process.env['TIDEGATE_BIN'] ?? join(root, 'bin', 'tidegate');

/** A describe that needs the binary: `make build` makes it. */
export const withBinary: typeof describe | typeof describe.skip = (() => {
  if (existsSync(binary)) return describe;
  if ((process.env['TIDEGATE_REQUIRE'] ?? '').split(',').includes('tidegate')) throw new Error(`TIDEGATE_REQUIRE names tidegate, and there is no ${binary}`);
  console.warn(`\nSKIPPED: the tests of sdk-js against the real server need ${binary}: run \`make build\` (Go and a C++ toolchain), or name a binary in TIDEGATE_BIN.\n`);
  return describe.skip;
})();

/** One `tidegate serve` that can be killed and started again. */
export interface TidegateNode {
  port: number;
  origin: string;
  start(): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** One row a line, as objects. */
  query(sql: string): Record<string, unknown>[];
  remove(): Promise<void>;
}

export async function openNode(sources: string[]): Promise<TidegateNode> {
  const folder = mkdtempSync(join(tmpdir(), 'tidegate-e2e-'));
  const [project, data] = [join(folder, 'project'), join(folder, 'data')];
  mkdirSync(project);
  writeFileSync(join(project, 'tidegate.yaml'), `warehouse: {kind: duckdb}\nsources:\n${sources.map((name) => `  - {name: ${name}, write_key: WK_${name}}\n`).join('')}`);
  const [port, admin] = [await freePort(), await freePort()];
  let child: ChildProcess | undefined;
  let log = '';
  const end = async (signal: NodeJS.Signals) => {
    const running = child;
    child = undefined;
    if (running?.exitCode !== null) return;
    const gone = new Promise((resolve) => running.once('exit', resolve));
    running.kill(signal);
    await gone;
  };
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    async start() {
      child = spawn(binary, ['serve', '--project', project, '--data', data, '--ingest-addr', `127.0.0.1:${port}`, '--admin-addr', `127.0.0.1:${admin}`], { stdio: ['ignore', 'pipe', 'pipe'] });
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-8_000)));
      for (const limit = Date.now() + 20_000; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
        if (Date.now() > limit || child.exitCode !== null) throw new Error(`the server did not start\n${log}`);
        const answers = await Promise.all([`http://127.0.0.1:${port}/v1/projects/WK_${sources[0]}/settings`, `http://127.0.0.1:${admin}/healthz`].map((url) => fetch(url).then((response) => response.ok, () => false)));
        if (answers.every(Boolean)) return;
      }
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    query(sql) {
      const out = execFileSync(binary, ['query', '--data', data, '--project', project, '--json', sql], { encoding: 'utf8', maxBuffer: 1 << 26 });
      return out.split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    async remove() {
      await end('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
