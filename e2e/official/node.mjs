// An official SDK for Node as the harness of e2e sees it.
//
//   node node.mjs segment|rudder HOST WRITE_KEY
//     answers each line `USER N ID` of its input with `ok ID` once the SDK took the step; a
//     step numbered -1 stands for one of each of the other calls. At the end of its input it lets the SDK finish, names what the SDK reported as delivered
//     (`delivered ID`), and says `closed`.
import { createInterface } from 'node:readline';

const [, , kind, host, writeKey] = process.argv;
console.log = console.info = console.debug = console.error; // standard output is the harness's
const delivered = [];
const report = (id) => (error) => {
  if (!error) delivered.push(id);
};

async function segment() {
  const { Analytics } = await import('@segment/analytics-node');
  const analytics = new Analytics({ writeKey, host, flushAt: 10, flushInterval: 200 });
  analytics.on('error', () => undefined); // a batch that it gave up; its callbacks say so too
  return {
    analytics,
    track: (userId, n, id) => analytics.track({ userId, messageId: id, event: 'Step', properties: { n, step: id } }, report(id)),
    close: () => analytics.closeAndFlush({ timeout: 100_000 }),
  };
}

async function rudder() {
  const { default: Analytics } = await import('@rudderstack/rudder-sdk-node');
  const analytics = new Analytics(writeKey, { dataPlaneUrl: host, flushAt: 10, flushInterval: 200, logLevel: 'error', errorHandler: () => undefined }); // without a handler a batch that it gives up ends the process
  return {
    analytics,
    track: (userId, n, id) => analytics.track({ userId, messageId: id, event: 'Step', properties: { n, step: id } }, report(id)),
    // A flush sends one batch, waits for the one before it, and rejects when that was given up.
    close: async () => {
      for (let i = 0; i < 500; i++) await analytics.flush().catch(() => undefined);
    },
  };
}

/** One of each call but track, with what the tables are to show. */
function others(analytics, userId) {
  analytics.identify({ userId, traits: { planName: 'pro' } });
  analytics.group({ userId, groupId: 'g1', traits: { seatCount: 5 } });
  analytics.page({ userId, name: 'Home', properties: { pageKind: 'shop' } });
  analytics.alias({ userId: `${userId}-new`, previousId: userId });
}

const client = await { segment, rudder }[kind]();
for await (const line of createInterface({ input: process.stdin })) {
  const [user, n, id] = line.split(' ');
  if (n === '-1') others(client.analytics, user);
  else client.track(user, Number(n), id);
  process.stdout.write(`ok ${id}\n`);
}
await client.close();
process.stdout.write(delivered.map((id) => `delivered ${id}\n`).join('') + 'closed\n', () => process.exit(0));
