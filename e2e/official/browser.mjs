// Official SDKs for browsers, each in a page of its own in one Chromium, as the harness of
// e2e sees them.
//
//   node browser.mjs CHROMIUM
//     `open KIND HOST WRITE_KEY` is answered `ok KIND` once the SDK is ready in its page. KIND:
//     segment (@segment/analytics-next, bundled as its users do), rudder
//     (@rudderstack/analytics-js), snippet (Segment's snippet with only its host changed).
//     `KIND USER N ID` is answered `ok ID` once the SDK took the step, the end of the input
//     `closed`, at once: who wants to wait waits before.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import * as snippet from '@segment/snippet';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const [, , executablePath] = process.argv;

const segment = (host, writeKey) => `
  import { AnalyticsBrowser } from '@segment/analytics-next';
  const analytics = AnalyticsBrowser.load({ writeKey: '${writeKey}', cdnURL: '${host}' });
  analytics.ready(() => { window.isReady = true });
  window.step = (user, n, step) => void analytics.track('Step', { n, step }, { userId: user, messageId: step });`;

const rudder = (host, writeKey) => `
  import { RudderAnalytics } from '@rudderstack/analytics-js/bundled';
  const analytics = new RudderAnalytics();
  analytics.load('${writeKey}', '${host}', { configUrl: '${host}', onLoaded: () => { window.isReady = true } });
  window.step = (user, n, step) => analytics.track('Step', { n, step });`;

/** One of each call but track, with what the tables are to show; segment's and rudder's take the same arguments. */
const others = `
  window.others = (user) => {
    analytics.identify(user, { planName: 'pro' });
    analytics.group('g1', { seatCount: 5 });
    analytics.page('Shop', 'Home', { pageKind: 'shop' });
    analytics.alias(user + '-new', user);
  };`;

async function bundled(entry) {
  const options = { bundle: true, write: false, format: 'iife', logLevel: 'error', define: { 'process.env.NODE_ENV': '"production"' } };
  const result = await build({ ...options, stdin: { contents: entry + others, resolveDir: import.meta.dirname, loader: 'js' } });
  return `<!doctype html><title>Steps</title><script>${result.outputFiles[0].text.replaceAll('</script', '<\\/script')}</script>`;
}

function withSnippet(host, writeKey) {
  const script = snippet.min({ apiKey: writeKey, host: 'HUB', page: false }).replace('https://HUB', host);
  return `<!doctype html><title>Steps</title><script>${script}</script><script>
    analytics.ready(() => { window.isReady = true });
    window.step = (user, n, step) => void analytics.track('Step', { n, step }, { messageId: step });${others}</script>`;
}

const html = {};
const server = createServer((request, response) => {
  const page = html[request.url.slice(1)];
  response.writeHead(page ? 200 : 404, { 'Content-Type': 'text/html; charset=utf-8' }).end(page);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await chromium.launch({ executablePath, headless: true, timeout: 200_000, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'] });
const pages = {};

async function open(kind, host, writeKey) {
  html[kind] = kind === 'snippet' ? withSnippet(host, writeKey) : await bundled((kind === 'segment' ? segment : rudder)(host, writeKey));
  const page = await (await browser.newContext()).newPage();
  page.on('pageerror', (error) => console.error(`in the page of ${kind}:`, error.message));
  await page.goto(`http://localhost:${server.address().port}/${kind}`, { timeout: 200_000 });
  await page.waitForFunction('window.isReady', undefined, { timeout: 200_000 });
  pages[kind] = page;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [kind, user, n, id] = line.split(' ');
  if (kind === 'open') await open(user, n, id);
  else if (n === '-1') await pages[kind].evaluate((user) => window.others(user), user);
  else await pages[kind].evaluate(([user, n, id]) => window.step(user, n, id), [user, Number(n), id]);
  process.stdout.write(`ok ${kind === 'open' ? user : id}\n`);
}
await browser.close();
server.close();
process.stdout.write('closed\n', () => process.exit(0));
