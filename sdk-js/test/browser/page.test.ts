import * as snippet from '@segment/snippet';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { readmeSnippet } from '../readme.js';
import { inChromium, launch } from './chromium.js';
import { held, openPageHub, pageWith, type PageHub } from './hub.js';

inChromium('the SDK in a page', () => {
  let browser: Browser;
  let hub: PageHub;
  let context: BrowserContext;

  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());
  beforeEach(async () => {
    hub = await openPageHub();
    context = await browser.newContext();
  });
  afterEach(async () => {
    await context.close();
    await hub.close();
  });

  const open = async (html: string, address = '/'): Promise<Page> => {
    const url = new URL(address, hub.origin);
    hub.pages.set(url.pathname, html);
    const page = await context.newPage();
    page.on('pageerror', (error) => console.error('in the page:', error.message));
    await page.goto(url.href);
    return page;
  };

  test("Segment's own snippet, only its address changed", async () => {
    const script = snippet.min({ apiKey: 'WK', host: 'HUB', page: true }).replace('https://HUB', hub.origin);
    const page = await open(`<!doctype html><title>Early</title><script>${script}
      analytics.setAnonymousId('anon-1');
      analytics.identify('u1', { plan: 'pro' });
      analytics.track('Early', { n: 1 }, { context: { x: 1 } });
      analytics.ready(function () { window.wasReady = true });
      history.pushState({}, '', '/elsewhere'); document.title = 'Later';
    </script>`, '/?utm_source=news');
    await page.waitForFunction('window.wasReady');
    await page.evaluate("analytics.track('Late'); analytics.flush()");
    await hub.until('four events', () => hub.taken.length === 4);
    expect(hub.taken.map(({ type, anonymousId }) => [type, anonymousId])).toEqual([['page', 'anon-1'], ['identify', 'anon-1'], ['track', 'anon-1'], ['track', 'anon-1']]);
    const [viewed, , early, late] = hub.taken;
    expect(viewed.properties).toMatchObject({ path: '/', title: 'Early', search: '?utm_source=news' });
    expect(early).toMatchObject({ event: 'Early', properties: { n: 1 }, userId: 'u1', context: { x: 1, page: { path: '/', title: 'Early' }, campaign: { source: 'news' } } });
    expect(late.context).toMatchObject({ page: { path: '/elsewhere', title: 'Later' } });
    expect(await page.evaluate('[analytics.initialized, typeof analytics.user().id(), typeof analytics.addIntegrationMiddleware]')).toEqual([true, 'string', 'function']);
  });

  test("Segment's snippet with the query-string API and an address of its own", async () => {
    const script = snippet.min({ apiKey: 'WK', host: 'HUB', page: false }).replace('https://HUB', hub.origin).replace('analytics._writeKey=', `analytics._cdn=${JSON.stringify(hub.origin)};analytics._writeKey=`);
    await open(`<!doctype html><script>${script}</script>`, '/?ajs_uid=u9&ajs_trait_plan=pro&ajs_event=Clicked&ajs_prop_from=mail');
    await hub.until('two events', () => hub.taken.length === 2);
    expect(hub.taken).toMatchObject([{ type: 'identify', userId: 'u9', traits: { plan: 'pro' } }, { event: 'Clicked', userId: 'u9', properties: { from: 'mail' } }]);
  });

  test('the snippet of the README: calls before the script is there are made up for', async () => {
    const page = await open(`<!doctype html><title>T</title>${readmeSnippet(`${hub.origin}/dist/tidegate.min.js`, hub.origin)}<script>tidegate.identify('u1'); tidegate.track('Early', { n: 1 })</script>`);
    await page.waitForFunction("typeof tidegate.flush === 'function' && typeof tidegate.load === 'function'");
    await page.evaluate("tidegate.track('Late')");
    await hub.until('four events', () => hub.taken.length === 4);
    expect(held(hub)).toEqual(['page', 'identify', 'Early', 'Late']);
    expect(hub.taken[3].userId).toBe('u1');
  });

  test('as a module', async () => {
    await open(`<!doctype html><script type="module">
      import { load } from '/dist/esm/index.js';
      import { errors } from '/dist/esm/plugins/errors.js';
      const analytics = load({ writeKey: 'WK', host: location.origin, flushInterval: 50, plugins: [errors()] });
      analytics.track('From a module');
      const fail = () => { throw new RangeError('broken') };
      setTimeout(fail);
      setTimeout(fail);
      Promise.reject(new Error('unhandled'));
    </script>`);
    await hub.until('three events', () => hub.taken.length === 3);
    const told = hub.taken.filter(({ event }) => event === 'Error Occurred').map(({ properties }) => [properties?.['name'], properties?.['message'], properties?.['unhandledRejection']]);
    expect(told.sort()).toEqual([['Error', 'unhandled', true], ['RangeError', expect.stringContaining('broken'), undefined]].sort());
  });

  test('autocapture: pages of a single-page app, clicks, forms, names of your own, and what is private', async () => {
    const page = await open(pageWith('plugins: [tidegate.plugins.autocapture()]', `
      <button id="buy" data-tidegate-event="Bought" data-tidegate-plan="pro"><b>Buy it</b></button>
      <a id="spa" href="/two?secret=1">two</a>
      <form id="form" name="signup" action="/submit?secret=1"><input name="password" value="hunter2"><button id="send">Send</button></form>
      <div data-tidegate-ignore><button id="quiet">Quiet</button></div>
      <script>
        spa.onclick = (event) => { event.preventDefault(); history.pushState({}, '', '/two'); document.title = 'Two' };
        form.onsubmit = (event) => event.preventDefault();
      </script>`, 'tidegate.all.min.js'));
    for (const id of ['#buy b', '#spa', '#send', '#quiet']) await page.click(id);
    await page.goBack();
    await hub.until('seven events', () => hub.taken.length === 7);
    expect(hub.taken.map(({ event, type, properties = {} }) => [event ?? type, properties['path'] ?? properties['text'] ?? properties['name'], properties['plan'] ?? properties['href'] ?? properties['action']])).toEqual([
      ['page', '/', undefined],
      ['Bought', 'Buy it', 'pro'],
      ['Element Clicked', 'two', `${hub.origin}/two`],
      ['page', '/two', undefined],
      ['Element Clicked', 'Send', undefined],
      ['Form Submitted', 'signup', `${hub.origin}/submit`],
      ['page', '/', undefined],
    ]);
    expect(hub.taken[3].properties).toMatchObject({ title: 'Two', referrer: `${hub.origin}/` });
    expect(JSON.stringify(hub.taken)).not.toMatch(/hunter2|secret/);
  });

  test('web vitals and engagement are told when the page is left', async () => {
    const page = await open(pageWith('plugins: [tidegate.plugins.webVitals(), tidegate.plugins.engagement()]', '<h1>Text</h1><div style="height: 3000px"></div>', 'tidegate.all.min.js'));
    hub.pages.set('/next', '<!doctype html>next');
    // The first input ends the search for the largest paint: it comes after one was seen.
    await page.evaluate(() => new Promise<void>((resolve) => new PerformanceObserver(() => resolve()).observe({ type: 'largest-contentful-paint', buffered: true })));
    await page.mouse.click(10, 10);
    await page.mouse.wheel(0, 1_000);
    await page.waitForFunction('scrollY > 500');
    // Less than a second is a glance, counted from when the plugin began: on a slow machine long after the navigation.
    await page.waitForFunction((from) => performance.now() > from + 1_200, await page.evaluate(() => performance.now()));
    await page.goto(hub.origin + '/next');
    await hub.until('both', () => held(hub).includes('Web Vitals') && held(hub).includes('Page Engaged'));
    const of = (name: string) => hub.taken.find(({ event }) => event === name)?.properties ?? {};
    expect(of('Web Vitals')).toMatchObject({ ttfb: expect.any(Number), fcp: expect.any(Number), lcp: expect.any(Number) });
    const { path, engaged_seconds, visible_seconds, scroll_depth } = of('Page Engaged') as Record<string, number>;
    expect(path).toBe('/');
    expect(visible_seconds).toBeGreaterThanOrEqual(1);
    expect(engaged_seconds).toBeLessThanOrEqual(visible_seconds);
    expect(scroll_depth).toBeGreaterThan(20);
    expect(scroll_depth).toBeLessThan(90);
  });

  test('one visitor over subdomains, by the widest cookie domain that the browser takes', async () => {
    hub.pages.set('/', pageWith());
    const visit = async (host: string) => {
      const page = await context.newPage();
      await page.goto(`http://${host}:${hub.port}/`);
      return page.evaluate(() => window.analytics.user().anonymousId());
    };
    const id = await visit('shop.example.test');
    expect(await visit('www.example.test')).toBe(id);
    expect(await visit('other.test')).not.toBe(id);
    expect((await context.cookies()).find(({ name, domain }) => name === 'tg_aid' && domain.includes('example'))).toMatchObject({ domain: '.example.test', sameSite: 'Lax', path: '/' });
    expect((await context.cookies()).some(({ name }) => name === 'tg_probe')).toBe(false);
  });

  test('one visitor over domains, by decorated links', async () => {
    const html = pageWith("plugins: [tidegate.plugins.linker({ domains: ['one.test', 'two.test'] })]", '', 'tidegate.all.min.js');
    hub.pages.set('/', html + `<a id="out" href="http://two.test:${hub.port}/?x=1">two</a>`);
    const page = await context.newPage();
    await page.goto(`http://one.test:${hub.port}/`);
    const id = await page.evaluate(() => window.analytics.user().anonymousId());
    await Promise.all([page.waitForURL('**two.test**'), page.click('#out')]);
    expect(await page.evaluate(() => window.analytics.user().anonymousId())).toBe(id);
    expect(page.url()).toBe(`http://two.test:${hub.port}/?x=1`);

    const stale = `${Math.round(Date.now() / 1_000) - 500}.someone-else`;
    await page.goto(`http://two.test:${hub.port}/?_tg=${stale}`);
    expect(await page.evaluate(() => window.analytics.user().anonymousId())).toBe(id);
  });

  test('identities that the SDKs of others left are taken over', async () => {
    await context.addCookies([{ name: 'rl_anonymous_id', value: 'RS_ENC_v3_' + encodeURIComponent(Buffer.from('"rudder-anon"').toString('base64')), url: hub.origin }]);
    const page = await open(pageWith());
    expect(await page.evaluate(() => window.analytics.user().anonymousId())).toBe('rudder-anon');
    await page.reload();
    expect(await page.evaluate(() => window.analytics.user().anonymousId())).toBe('rudder-anon');
  });
});
