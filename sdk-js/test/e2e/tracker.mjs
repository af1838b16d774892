// One SDK for Node as the harness of e2e (sdk_test.go) sees it.
//
//   node tracker.mjs ours|segment HOST SPOOL
//     answers each line `USER N ID` of its input with `ok ID` once the SDK accepted the
//     step, and the end of its input with `closed` once everything is delivered.
import { createInterface } from 'node:readline';

const [, , kind, host, folder] = process.argv;

async function ours() {
  const { Analytics } = await import('../../dist/esm/server.js');
  const { spool } = await import('../../dist/esm/spool.js');
  const analytics = new Analytics({ writeKey: 'WK', host, flushAt: 50, flushInterval: 100, maxBackoff: 1_000, timeout: 1_000, ...(folder && { spool: spool(folder) }) });
  return {
    track: (userId, n, messageId) => new Promise((resolve, reject) => {
      analytics.track({ userId, messageId, event: 'Step', properties: { n } }, (error) => (error ? reject(error) : resolve()));
    }),
    close: () => analytics.closeAndFlush({ timeout: 90_000 }),
  };
}

async function segment() {
  const { Analytics } = await import('@segment/analytics-node');
  const analytics = new Analytics({ writeKey: 'WK', host, flushAt: 50, flushInterval: 100 });
  analytics.on('error', () => undefined);
  return {
    // Its callback speaks of the delivery, so that a step counts as accepted when the call returns.
    track: async (userId, n, messageId) => {
      analytics.track({ userId, messageId, event: 'Step', properties: { n } });
    },
    close: () => analytics.closeAndFlush({ timeout: 90_000 }),
  };
}

const client = await (kind === 'ours' ? ours() : segment());

for await (const line of createInterface({ input: process.stdin })) {
  const [user, n, id] = line.split(' ');
  await client.track(user, Number(n), id);
  process.stdout.write(`ok ${id}\n`);
}
await client.close();
process.stdout.write('closed\n');
process.exit(0);
