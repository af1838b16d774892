// One process that tracks numbered events of one user until it is told to stop, or
// killed. Run as: node client.mjs ours|segment HOST WRITE_KEY FROM COUNT [SPOOL].
// It says on standard output which events the SDK accepted: "accepted N".
const [, , kind, host, writeKey, from, count, folder] = process.argv;

async function ours() {
  const { Analytics } = await import('../../dist/esm/server.js');
  const { spool } = await import('../../dist/esm/spool.js');
  const analytics = new Analytics({ writeKey, host, flushInterval: 50, maxBackoff: 1_000, timeout: 3_000, ...(folder && { spool: spool(folder) }) });
  return {
    track: (n) => new Promise((resolve) => analytics.track({ userId: 'u1', event: 'Numbered', properties: { n } }, (error) => resolve(!error))),
    close: () => analytics.closeAndFlush({ timeout: 60_000 }),
  };
}

async function segment() {
  const { Analytics } = await import('@segment/analytics-node');
  const analytics = new Analytics({ writeKey, host, flushInterval: 50 });
  analytics.on('error', () => undefined);
  return {
    // Its callback speaks of the delivery, so that an event counts as accepted when the call returns.
    track: async (n) => {
      analytics.track({ userId: 'u1', event: 'Numbered', properties: { n } });
      return true;
    },
    close: () => analytics.closeAndFlush({ timeout: 60_000 }),
  };
}

const client = await (kind === 'ours' ? ours() : segment());
for (let n = Number(from); n < Number(from) + Number(count); n++) {
  if (await client.track(n)) process.stdout.write(`accepted ${n}\n`);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
await client.close();
process.stdout.write('closed\n');
