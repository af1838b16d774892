import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inChromium, launch } from '../browser/chromium.js';
import { openPageHub, pageWith } from '../browser/hub.js';
import { openNode, withBinary, type TidegateNode } from './node.js';
import { openProxy, type Fault, type Proxy } from './proxy.js';

const program = fileURLToPath(new URL('client.mjs', import.meta.url));
const faults: Fault[] = ['none', 429, 'lost', 500, 'reset', 'none', 'slow', 503, 'lost', 'none', 429, 'reset', 500, 'lost', 'none', 'slow'];

/** A client process: what it accepted, and how it is ended. */
function run(kind: string, host: string, key: string, from: number, count: number, spool = '') {
  const child = spawn(process.execPath, [program, kind, host, key, `${from}`, `${count}`, ...(spool ? [spool] : [])], { stdio: ['ignore', 'pipe', 'inherit'] });
  const accepted: number[] = [];
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (text + chunk.toString()).split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('accepted ')) accepted.push(Number(line.slice(9)));
  });
  const done = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return { accepted, done, child, until: async (n: number) => {
    while (accepted.length < n && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 10));
  } };
}

const until = async (fact: () => boolean, limit = 20_000) => {
  for (const end = Date.now() + limit; !fact() && Date.now() < end; ) await new Promise((resolve) => setTimeout(resolve, 200));
};

withBinary('against the real server', () => {
  let node: TidegateNode;
  let proxy: Proxy;

  beforeAll(async () => {
    node = await openNode(['ours', 'segment', 'killed', 'pages']);
    await node.start();
    proxy = await openProxy(node.origin);
  });
  afterAll(async () => {
    await proxy.close();
    await node.remove();
  });

  const rows = (source: string) => {
    try {
      return node.query(`select n from ${source}.numbered order by split_part(_tidegate_offset, ':', 2)::bigint`).map(({ n }) => Number(n));
    } catch {
      return []; // no event has come yet
    }
  };
  const verdict = (accepted: number[], held: number[]) => ({
    accepted: accepted.length,
    lost: accepted.filter((n) => !held.includes(n)).length,
    twice: held.length - new Set(held).size,
    inOrder: held.every((n, i) => i === 0 || n > (held[i - 1])),
  });

  test('429, 500, resets, lost answers, slow answers, a restart and a kill -9: each accepted event once; beside @segment/analytics-node', async () => {
    const table: Record<string, ReturnType<typeof verdict>> = {};
    for (const kind of ['ours', 'segment']) {
      proxy.plan = [...faults];
      const client = run(kind, proxy.origin, `WK_${kind}`, 0, 400);
      await client.until(100);
      await node.kill();
      await node.start();
      await client.until(250);
      await node.stop();
      await node.start();
      await client.done;
      await until(() => new Set(rows(kind)).size === client.accepted.length, kind === 'ours' ? 20_000 : 5_000);
      table[kind] = verdict(client.accepted, rows(kind));
      proxy.plan = [];
    }
    console.log('the same faults for both:');
    console.table(table);
    expect(table['ours']).toEqual({ accepted: 400, lost: 0, twice: 0, inOrder: true });
  }, 180_000);

  test('kill -9 of the client: the next process sends what the dead one had accepted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidegate-spool-'));
    try {
      const accepted: number[] = [];
      for (let life = 0; life < 2; life++) {
        proxy.plan = [500, 'lost', 429, 'reset'];
        const client = run('ours', proxy.origin, 'WK_killed', life * 1_000, 100, folder);
        await client.until(40 + life * 10);
        client.child.kill('SIGKILL');
        await client.done;
        accepted.push(...client.accepted);
      }
      proxy.plan = [];
      // The leases of the dead run out after 30 s; a test does not wait for that.
      for (const name of readdirSync(folder)) if (name.startsWith('tg_l')) rmSync(join(folder, name));
      const last = run('ours', proxy.origin, 'WK_killed', 9_000, 3_600, folder);
      await until(() => accepted.every((n) => rows('killed').includes(n)), 60_000);
      last.child.kill('SIGKILL');
      await last.done;
      // What a killed process had accepted without having said so may be there besides.
      expect(verdict(accepted, rows('killed'))).toMatchObject({ lost: 0, twice: 0 });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }, 120_000);

  inChromium('pages', () => {
    test('pages that come and go while the server is killed: each accepted event once', async () => {
      const pages = await openPageHub();
      const browser = await launch();
      try {
        pages.pages.set('/', pageWith('maxBackoff: 1_000,', '', 'tidegate.min.js', proxy.origin).replaceAll("'WK'", "'WK_pages'"));
        const page = await browser.newPage();
        let n = 0;
        for (let visit = 0; visit < 5; visit++) {
          if (visit % 2) proxy.plan = ['lost', 500, 'reset'];
          await page.goto(pages.origin);
          n = await page.evaluate(async (from) => {
            for (let i = 0; i < 12; i++) await window.analytics.track('Numbered', { n: from + i });
            return from + 12;
          }, n);
          if (visit === 2) {
            await node.kill();
            await node.start();
          }
        }
        await page.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith('tg_q')), undefined, { timeout: 60_000 });
        await until(() => rows('pages').length === n);
        expect(verdict(Array.from({ length: n }, (_, i) => i), rows('pages'))).toEqual({ accepted: 60, lost: 0, twice: 0, inOrder: true });
      } finally {
        await browser.close();
        await pages.close();
      }
    }, 120_000);
  });
});
