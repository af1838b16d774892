import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Analytics } from '../../src/index.js';
import { inChromium, launch, launchProfile, profileFolder } from './chromium.js';
import { counts, held, openPageHub, pageWith, type PageHub } from './hub.js';

declare global {
  interface Window {
    analytics: Analytics;
  }
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

inChromium('delivery in Chromium', () => {
  let browser: Browser;
  let hub: PageHub;
  let context: BrowserContext;

  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());
  beforeEach(async () => {
    hub = await openPageHub();
    hub.pages.set('/', pageWith());
    hub.pages.set('/next', pageWith());
    hub.pages.set('/bare', '<!doctype html><title>Without the SDK</title>');
    context = await browser.newContext();
  });
  afterEach(async () => {
    await context.close();
    await hub.close();
  });

  const open = async (path = '/'): Promise<Page> => {
    const page = await context.newPage();
    await page.goto(hub.origin + path);
    return page;
  };
  const track = (page: Page, events: string[]) => page.evaluate((all) => all.forEach((event) => void window.analytics.track(event)), events);
  /** The lease of a tab that died runs out after 30 s; a test does not wait for that. */
  const endLeases = (page: Page) => page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('tg_l')).forEach((key) => localStorage.removeItem(key)));
  const waiting = (page: Page) => page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('tg_q')).length);

  test('one request without a preflight, even to another origin', async () => {
    hub.pages.set('/cross', pageWith('', '', 'tidegate.min.js', `http://127.0.0.1:${hub.port}`));
    const page = await open('/cross');
    await track(page, names('e', 5));
    await hub.until('the events', () => hub.taken.length === 5);
    expect([hub.preflights, hub.requests.length]).toEqual([0, 1]);
    expect(hub.requests[0].headers['content-type']).toBe('text/plain');
    expect(hub.requests[0].headers.cookie).toBeUndefined();
    await page.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith('tg_q')));
  });

  test('navigation in the middle of a request and before one loses nothing', async () => {
    hub.plan = [{ status: 200, wait: 300 }];
    const page = await open();
    await track(page, names('a', 25)); // leaves at once, and is slow
    await track(page, names('b', 5)); // waits
    await Promise.all([page.waitForURL('**/next'), page.evaluate(() => (location.href = '/next'))]);
    await track(page, ['c']);
    const all = [...names('a', 25), ...names('b', 5), 'c'].sort();
    await hub.until('all events', () => held(hub).length === all.length);
    expect(held(hub).sort()).toEqual(all);
    await page.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith('tg_q')));
  });

  test('a click on a link that leaves the site', async () => {
    hub.pages.set('/link', pageWith('', '<a id="out" href="/bare">out</a><script>analytics.trackLink(document.getElementById("out"), "Left", { to: "bare" })</script>'));
    const page = await open('/link');
    await Promise.all([page.waitForURL('**/bare'), page.click('#out')]);
    await hub.until('the click', () => held(hub).includes('Left'));
    expect(hub.taken[0].properties).toEqual({ to: 'bare' });
  });

  test('a form that leaves the site', async () => {
    hub.pages.set('/form', pageWith('', '<form id="f" action="/bare"><button>go</button></form><script>analytics.trackForm(document.querySelector("form"), () => "Sent")</script>'));
    const page = await open('/form');
    await Promise.all([page.waitForURL('**/bare*'), page.click('button')]);
    await hub.until('the submit', () => held(hub).includes('Sent'));
  });

  test('hundreds of events at the moment of leaving: what does not fit waits for the next page', async () => {
    const page = await open();
    await page.evaluate(() => {
      for (let i = 0; i < 300; i++) void window.analytics.track(`e${i}`, { filler: 'x'.repeat(500) });
      location.href = '/bare';
    });
    await page.waitForURL('**/bare');
    await page.goto(hub.origin + '/next');
    await hub.until('all events', () => new Set(held(hub)).size === 300);
    expect(held(hub)).toHaveLength(300);
  });

  test('offline: events wait, over a reload too, and leave when the network is back', async () => {
    const page = await open();
    await context.setOffline(true);
    await track(page, names('a', 10));
    await page.waitForTimeout(500);
    expect(hub.taken).toHaveLength(0);
    expect(await waiting(page)).toBe(10);
    await page.close({ runBeforeUnload: false });
    await context.setOffline(false);
    const again = await open();
    await track(again, ['b']);
    await hub.until('all events', () => held(hub).length === 11);
    // A request of the closing page can outlive both the page and the network's pause: its ids make the repeat harmless.
    expect(held(hub).sort()).toEqual([...names('a', 10), 'b'].sort());
  });

  test('back online it does not wait for the pause to end', async () => {
    const page = await open();
    await context.setOffline(true);
    await track(page, ['a']);
    const pause = await page.evaluate(() => new Promise<number>((resolve) => {
      let count = 0;
      window.analytics.on('retry', (_status, pause) => {
        if (++count === 4) resolve(pause);
      });
    }));
    const start = Date.now();
    await context.setOffline(false);
    await hub.until('the event', () => held(hub).length === 1);
    expect(Date.now() - start).toBeLessThan(pause);
  });

  test('two tabs: each sends its own, and one that is killed leaves its own to the other', async () => {
    const [one, two] = [await open(), await open()];
    hub.plan = Array.from({ length: 4 }, () => 500);
    await track(one, names('a', 20));
    await track(two, names('b', 20));
    const session = await context.newCDPSession(one);
    void session.send('Page.crash').catch(() => undefined);
    await hub.until('those of the living', () => names('b', 20).every((name) => held(hub).includes(name)));
    await endLeases(two);
    await two.reload();
    await hub.until('those of the dead', () => held(hub).length === 40);
    // The one may have died, and the other reloaded, between a request and its answer; then it was sent again under the same ids.
    expect(held(hub).sort()).toEqual([...names('a', 20), ...names('b', 20)].sort());
  });

  test('ten tabs, all at once, against a server that fails: every event once', async () => {
    hub.plan = [500, 'reset', 429, 503, 200, 500];
    const pages = await Promise.all(names('', 10).map(() => open()));
    await Promise.all(pages.map((page, i) => track(page, names(`t${i}-`, 10))));
    await hub.until('all events', () => held(hub).length === 100, 30_000);
    expect(Object.values(counts(hub)).every((count) => count === 1)).toBe(true);
  });

  test('a browser that is killed and started again', async () => {
    const { folder, remove } = profileFolder();
    try {
      hub.plan = Array.from({ length: 50 }, () => 503);
      const before = await launchProfile(folder);
      const page = await before.newPage();
      await page.goto(hub.origin);
      await track(page, names('a', 10));
      await hub.until('an attempt', () => hub.requests.length > 0);
      await before.close(); // closed in order: Chromium writes localStorage down some seconds late, and a kill -9 loses them
      hub.plan = [];
      const after = await launchProfile(folder);
      const next = await after.newPage();
      await next.goto(hub.origin + '/bare');
      await endLeases(next);
      await next.goto(hub.origin);
      await hub.until('the events of the first life', () => held(hub).length === 10);
      await after.close();
    } finally {
      remove();
    }
  });

  test.each([
    ['429 with Retry-After', [{ status: 429, retryAfter: 2 }], 2_000],
    ['500', [500], 500],
    // Chromium itself repeats a request whose connection died, once.
    ['a reset', ['reset'], 0],
    ['an answer that got lost', ['lost'], 0],
    ['two resets', ['reset', 'reset'], 0],
  ] as const)('%s: again, no sooner than allowed, with the same ids', async (_, plan, pause) => {
    hub.plan = [...plan];
    const page = await open();
    await track(page, names('a', 3));
    await hub.until('a repeat that is taken', () => hub.requests.length > plan.length);
    expect(hub.requests[1].at - hub.requests[0].at).toBeGreaterThanOrEqual(pause - 5);
    expect(hub.requests[1].events).toEqual(hub.requests[0].events);
    expect(held(hub)).toEqual(names('a', 3));
  });

  test('Retry-After holds for flush() and on leaving; the next page tries once itself', async () => {
    hub.plan = Array.from({ length: 20 }, () => ({ status: 429, retryAfter: 600 }));
    const page = await open();
    await track(page, names('a', 3));
    await hub.until('the refusal', () => hub.requests.length === 1);
    await track(page, names('b', 30));
    expect(await page.evaluate(() => window.analytics.flush())).toBe(false);
    expect(hub.requests).toHaveLength(1);
    await page.goto(hub.origin + '/bare'); // leaving respects it, too
    expect(hub.requests).toHaveLength(1);
    hub.plan = [];
    await page.goto(hub.origin);
    await hub.until('all', () => held(hub).length === 33);
  });

  test('a sandboxed frame without cookies and storage', async () => {
    hub.pages.set('/frame', pageWith('', `<script>analytics.identify('u1'); analytics.track('framed')</script>`, 'tidegate.min.js', hub.origin));
    hub.pages.set('/outer', `<!doctype html><iframe sandbox="allow-scripts" src="/frame"></iframe>`);
    await open('/outer');
    await hub.until('the event', () => held(hub).includes('framed'));
    expect(hub.taken.map(({ userId }) => userId)).toEqual(['u1', 'u1']);
    expect(new Set(hub.taken.map(({ anonymousId }) => anonymousId)).size).toBe(1);
  });

  test('a full localStorage', async () => {
    const page = await open('/bare');
    await page.evaluate(() => {
      for (let size = 1_000_000; size > 0; size = Math.floor(size / 2)) {
        try {
          for (let i = 0; ; i++) localStorage.setItem(`${size}-${i}`, 'x'.repeat(size));
        } catch {
          // smaller pieces
        }
      }
    });
    await page.goto(hub.origin);
    await page.evaluate(() => void window.analytics.identify('u1', { plan: 'pro' }));
    await track(page, names('a', 10));
    expect(await page.evaluate(() => window.analytics.user().traits())).toEqual({ plan: 'pro' });
    await hub.until('all', () => held(hub).length === 11);
  });

  test('a clock that is wrong, and then put right', async () => {
    const page = await open();
    const shift = (days: number) => page.evaluate((by) => {
      const real = (window as unknown as { RealDate?: DateConstructor }).RealDate ?? Date;
      (window as unknown as { RealDate: DateConstructor }).RealDate = real;
      window.Date = class extends real {
        constructor(...args: []) {
          if (args.length) super(...args);
          else super(real.now() + by * 86_400_000);
        }
        static override now = () => real.now() + by * 86_400_000;
      } as DateConstructor;
    }, days);
    await shift(400);
    await track(page, ['future']);
    await hub.until('the first', () => held(hub).includes('future'));
    expect(Date.parse(hub.taken[0].timestamp)).toBeGreaterThan(Date.now() + 399 * 86_400_000);
    hub.plan = [500, 500];
    await track(page, ['before']);
    await shift(0);
    await track(page, ['after']);
    await hub.until('all', () => held(hub).length === 3);
    expect(held(hub).sort()).toEqual(['after', 'before', 'future']);
  });

  test('a page from the back-forward cache goes on', async () => {
    const page = await open();
    await track(page, ['a']);
    await hub.until('a', () => held(hub).includes('a'));
    await page.goto(hub.origin + '/bare');
    await page.goBack();
    await track(page, ['b']);
    await hub.until('b', () => held(hub).includes('b'));
    expect(await page.evaluate(() => window.analytics.user().anonymousId())).toBe(hub.taken[0].anonymousId);
  });
});
