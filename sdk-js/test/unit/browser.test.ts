import { afterEach, beforeEach, describe, expect, expectTypeOf, test, vi } from 'vitest';
import { load, type Analytics, type Settings } from '../../src/index.js';
import { AnalyticsBrowser } from '../../src/segment.js';
import { once, openHub, type Hub } from './hub.js';
import { openPage, type FakePage, type FakePageSettings } from './page.js';

let hub: Hub;
let page: FakePage;

const open = (settings: Partial<Settings> = {}, where: FakePageSettings = {}): Analytics => {
  page = openPage(where);
  return load({ writeKey: 'WK', host: 'https://hub.example.com', fetch: hub.fetch, ...settings });
};
const settle = () => vi.advanceTimersByTimeAsync(2_000);
const last = () => hub.events()[hub.events().length - 1];

beforeEach(() => {
  vi.useFakeTimers({ now: new Date('2026-01-01T00:00:00Z') });
  hub = openHub();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('calls', () => {
  test('the arguments of analytics.js in all their forms', async () => {
    const analytics = open();
    const heard: unknown[] = [];
    const callback = (context: unknown) => heard.push(context);
    void analytics.track('a', { n: 1 }, { context: { x: 1 } }, callback);
    void analytics.track('b', callback);
    void analytics.track('c', undefined, { integrations: { All: false } });
    void analytics.page();
    void analytics.page('Home');
    void analytics.page('Docs', 'Start', { n: 1 });
    void analytics.page(null, 'Bare');
    void analytics.page({ n: 2 });
    void analytics.screen('Cart');
    void analytics.identify('u1', { a: 1 });
    void analytics.identify({ b: 2 });
    void analytics.identify(42 as never);
    void analytics.group('g1', { c: 3 });
    void analytics.alias('u2', 'u1', { context: { x: 2 } });
    void analytics.alias('u3', undefined, { context: { x: 3 } });
    await settle();
    const short = hub.events().map(({ type, event, category, name, userId, groupId, previousId, traits }) => [type, event ?? groupId ?? previousId ?? [category, name], userId, traits]);
    expect(short).toEqual([
      ['track', 'a', undefined, undefined],
      ['track', 'b', undefined, undefined],
      ['track', 'c', undefined, undefined],
      ['page', [undefined, undefined], undefined, undefined],
      ['page', [undefined, 'Home'], undefined, undefined],
      ['page', ['Docs', 'Start'], undefined, undefined],
      ['page', [undefined, 'Bare'], undefined, undefined],
      ['page', [undefined, undefined], undefined, undefined],
      ['screen', [undefined, 'Cart'], undefined, undefined],
      ['identify', [undefined, undefined], 'u1', { a: 1 }],
      ['identify', [undefined, undefined], 'u1', { a: 1, b: 2 }],
      ['identify', [undefined, undefined], '42', {}],
      ['group', 'g1', '42', { c: 3 }],
      ['alias', 'u1', 'u2', undefined],
      ['alias', '42', 'u3', undefined],
    ]);
    expect(hub.events()[0]).toMatchObject({ properties: { n: 1 }, context: { x: 1 } });
    expect(hub.events()[2].integrations).toEqual({ All: false });
    expect(hub.events()[5].properties).toMatchObject({ n: 1, category: 'Docs', name: 'Start', path: '/', title: 'A title' });
    expect(hub.events()[14].context).toMatchObject({ x: 3 });
    expect(heard).toHaveLength(2);
    expect(() => analytics.track('')).toThrow();
  });

  test('the promise is there when the event is safe', async () => {
    const analytics = open();
    const context = await analytics.track('E');
    expect([...page.storage.values()].some((text) => text.includes(context?.event.messageId as string))).toBe(true);
  });

  test('typed events', () => {
    open();
    const analytics = load<{ 'Order Completed': { total: number }; Seen: { where?: string } }>({ writeKey: 'W', host: 'h', fetch: hub.fetch });
    expectTypeOf(analytics.track<'Order Completed'>).parameter(1).toEqualTypeOf<{ total: number }>();
    void analytics.track('Order Completed', { total: 1 });
    void analytics.track('Seen');
    // @ts-expect-error -- properties are needed
    void analytics.track('Order Completed');
    // @ts-expect-error -- not an event
    void analytics.track('Order');
  });

  test("Segment's way to load it", async () => {
    openPage();
    const analytics = AnalyticsBrowser.load({ writeKey: 'WK', cdnURL: 'https://hub.example.com' }, { fetch: hub.fetch, integrations: { All: true } });
    void analytics.track('E');
    await settle();
    expect(hub.requests[0].url).toBe('https://hub.example.com/v1/batch');
    expect(last()).toMatchObject({ event: 'E', integrations: { All: true } });
  });

  test('listeners', async () => {
    const analytics = open();
    const heard: unknown[] = [];
    analytics.on('track', (...args) => heard.push(args)).once('identify', (...args) => heard.push(args));
    vi.spyOn(console, 'error').mockReturnValue();
    analytics.on('track', () => {
      throw new Error('a listener of yours');
    });
    void analytics.track('E', { n: 1 });
    void analytics.identify('u', { a: 1 });
    void analytics.identify('u', { a: 1 });
    analytics.off('track');
    void analytics.track('F');
    expect(heard).toEqual([['E', { n: 1 }, {}], ['u', { a: 1 }, {}]]);
    let ready = 0;
    await analytics.ready(() => ready++);
    expect(ready).toBe(1);
  });
});

describe('identity', () => {
  test('lives over page loads, in cookies for the widest domain and in localStorage', async () => {
    const one = open({}, { href: 'https://shop.example.co.uk/' });
    void one.identify('u1', { plan: 'pro' });
    const id = one.user().anonymousId();
    expect(page.cookies.get('tg_aid')).toEqual({ value: id, domain: 'example.co.uk' });
    expect(page.cookies.has('tg.traits')).toBe(false);
    const { cookies, storage } = page;
    const two = open({}, { href: 'https://www.example.co.uk/', cookies });
    expect([two.user().id(), two.user().anonymousId(), two.user().traits()]).toEqual(['u1', id, {}]);
    const three = open({}, { href: 'https://shop.example.co.uk/', storage });
    expect([three.user().id(), three.user().anonymousId(), three.user().traits()]).toEqual(['u1', id, { plan: 'pro' }]);
  });

  test.each(['https://localhost/', 'http://127.0.0.1:8080/', 'https://me.github.io/'])('works on %s', (href) => {
    const id = open({}, { href }).user().anonymousId();
    expect(page.cookies.get('tg_aid')).toEqual({ value: id, domain: new URL(href).hostname });
  });

  test('another user is another person', () => {
    const analytics = open();
    const first = analytics.user().anonymousId();
    void analytics.identify('u1', { a: 1 });
    expect(analytics.user().anonymousId()).toBe(first);
    void analytics.identify('u2', { b: 1 });
    expect(analytics.user().anonymousId()).not.toBe(first);
    expect(analytics.user().traits()).toEqual({ b: 1 });
    analytics.reset();
    expect([analytics.user().id(), analytics.user().traits(), analytics.group().id()]).toEqual([null, {}, null]);
  });

  test.each([
    ['both denied', { cookies: 'denied', storage: 'denied' }],
    ['cookies denied', { cookies: 'denied' }],
    ['localStorage denied', { storage: 'denied' }],
    ['localStorage full', { quota: 10 }],
  ] as [string, FakePageSettings][])('%s: it goes on', async (_, where) => {
    const analytics = open({}, where);
    void analytics.identify('u1', { a: 1 });
    const id = analytics.user().anonymousId();
    void analytics.track('E');
    expect(analytics.user().anonymousId()).toBe(id);
    expect(analytics.user().traits()).toEqual({ a: 1 });
    await settle();
    expect(hub.events().map(({ type, userId, anonymousId }) => [type, userId, anonymousId])).toEqual([['identify', 'u1', id], ['track', 'u1', id]]);
  });

  const coded = (value: unknown) => 'RS_ENC_v3_' + Buffer.from(JSON.stringify(value)).toString('base64');
  test.each([
    ['Segment cookies', { ajs_anonymous_id: 'old-a', ajs_user_id: 'u1', ajs_group_id: 'g1' }, {}],
    ['Segment cookies of before 2020', { ajs_anonymous_id: '%22old-a%22', ajs_user_id: '%22u1%22', ajs_group_id: '%22g1%22' }, {}],
    ['Segment localStorage', {}, { ajs_anonymous_id: '"old-a"', ajs_user_id: '"u1"', ajs_group_id: '"g1"' }],
    ['RudderStack cookies', { rl_anonymous_id: encodeURIComponent(coded('old-a')), rl_user_id: encodeURIComponent(coded('u1')), rl_group_id: encodeURIComponent(coded('g1')) }, {}],
    ['RudderStack localStorage', {}, { rl_anonymous_id: coded('old-a'), rl_user_id: coded('u1'), rl_group_id: coded('g1') }],
  ] as [string, Record<string, string>, Record<string, string>][])('takes over from %s', (_, cookies, storage) => {
    const analytics = open({}, {
      cookies: new Map(Object.entries(cookies).map(([key, value]) => [key, { value, domain: 'example.com' }])),
      storage: new Map(Object.entries(storage)),
    });
    expect([analytics.user().anonymousId(), analytics.user().id(), analytics.group().id()]).toEqual(['old-a', 'u1', 'g1']);
  });

  test('takes traits over, leaves digits as they are, ignores what it cannot read', () => {
    const analytics = open({}, {
      storage: new Map([['ajs_user_traits', '{"name":"Zoë"}'], ['rl_group_trait', coded({ name: 'Süd' })], ['ajs_user_id', '12345678901234567890'], ['rl_anonymous_id', 'RudderEncrypt:U2FsdGVk'], ['ajs_group_id', 'null']]),
    });
    expect(analytics.user().traits()).toEqual({ name: 'Zoë' });
    expect(analytics.group().traits()).toEqual({ name: 'Süd' });
    expect(analytics.user().id()).toBe('12345678901234567890');
    expect(analytics.user().anonymousId()).toMatch(/^[0-9a-f-]{36}$/);
    expect(analytics.group().id()).toBe(null);
  });

  test('after a reset the next page does not take over again', () => {
    const left = new Map([['ajs_anonymous_id', 'old'], ['ajs_user_id', 'u1']]);
    open({}, { storage: left }).reset();
    const next = open({}, { storage: left }).user();
    expect(next.anonymousId()).not.toBe('old');
    expect(next.id()).toBe(null);
  });

  test('does not look when told so, and not over an identity of its own', () => {
    const storage = new Map([['ajs_anonymous_id', 'old']]);
    expect(open({ migrate: false }, { storage }).user().anonymousId()).not.toBe('old');
    expect(open({}, { storage: new Map([['ajs_anonymous_id', 'old'], ['tg_aid', 'ours']]) }).user().anonymousId()).toBe('ours');
  });
});

describe('context', () => {
  test('the page, the campaign, the click and the first touch', async () => {
    const analytics = open({}, { href: 'https://shop.example.com/a?utm_source=news&utm_campaign=spring&gclid=G1#frag', referrer: 'https://search.example/' });
    void analytics.track('E');
    page.go('/b?utm_source=other');
    void analytics.track('F');
    await settle();
    const [{ context: first }, { context: second }] = hub.events();
    expect(first).toMatchObject({
      page: { path: '/a', search: '?utm_source=news&utm_campaign=spring&gclid=G1', url: 'https://shop.example.com/a?utm_source=news&utm_campaign=spring&gclid=G1', referrer: 'https://search.example/', title: 'A title' },
      campaign: { source: 'news', name: 'spring' },
      clickIds: { gclid: 'G1' },
      locale: 'en-GB',
      userAgent: 'test',
    });
    expect(second).toMatchObject({ campaign: { source: 'other' }, firstTouch: { campaign: { source: 'news', name: 'spring' }, clickIds: { gclid: 'G1' }, referrer: 'https://search.example/', at: '2026-01-01T00:00:00.000Z' } });
    expect(second).not.toHaveProperty('clickIds');
  });

  test('a canonical link speaks for the page', async () => {
    const analytics = open({}, { href: 'https://shop.example.com/a?x=1', canonical: 'https://shop.example.com/canon' });
    void analytics.page();
    await settle();
    expect(last().properties).toMatchObject({ path: '/canon', url: 'https://shop.example.com/canon?x=1' });
  });

  test('sessions end after half an hour without events', async () => {
    const analytics = open();
    const sessions: unknown[] = [];
    for (const minutes of [0, 10, 29, 31, 1]) {
      await vi.advanceTimersByTimeAsync(minutes * 60_000);
      const { event } = (await analytics.track('E')) ?? {};
      sessions.push([event?.context['sessionId'], event?.context['sessionStart']]);
    }
    const start = Date.parse('2026-01-01T00:00:00Z');
    expect(sessions).toEqual([[start, true], [start, undefined], [start, undefined], [start + 70 * 60_000, true], [start + 70 * 60_000, undefined]]);
    const without = await open({ sessionTimeout: false }).track('E');
    expect(without?.event.context).not.toHaveProperty('sessionId');
  });

  test('the address can be made anonymous', async () => {
    const { event } = (await open({ anonymizeIP: true }).track('E')) ?? {};
    expect(event?.context['ip']).toBe('0.0.0.0');
  });
});

describe('consent', () => {
  const stored = () => [...page.cookies.keys(), ...page.storage.keys()].filter((key) => key.startsWith('tg'));

  test('opt-in: nothing leaves and nothing is stored before the grant; then all of it', async () => {
    const analytics = open({ consent: { mode: 'opt-in' } }, { storage: new Map([['ajs_anonymous_id', 'old']]) });
    void analytics.track('a');
    void analytics.identify('u', { x: 1 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(stored()).toEqual([]);
    expect(hub.requests).toHaveLength(0);
    analytics.consent(true);
    void analytics.track('b');
    await settle();
    expect(hub.events().map(({ event, anonymousId }) => [event, anonymousId])).toEqual([['a', 'old'], [undefined, 'old'], ['b', 'old']]);
    expect(stored()).toContain('tg_aid');
  });

  test('opt-in: a denial forgets what waited, and is remembered', async () => {
    const analytics = open({ consent: { mode: 'opt-in' } });
    const waiting = analytics.track('a');
    analytics.consent(false);
    expect(await waiting).toBe(null);
    expect(await analytics.track('b')).toBe(null);
    await settle();
    expect(hub.requests).toHaveLength(0);
    expect(stored().every((key) => key === 'tg_consent')).toBe(true);
    expect(await open({ consent: { mode: 'opt-in' } }, { storage: page.storage, cookies: page.cookies }).track('c')).toBe(null);
  });

  test('anonymous before the decision: sent, not stored', async () => {
    const analytics = open({ consent: { mode: 'opt-in', before: 'anonymous' } });
    void analytics.track('a');
    await settle();
    expect(hub.events()).toHaveLength(1);
    expect(stored()).toEqual([]);
    const { anonymousId } = hub.events()[0];
    analytics.consent(true);
    expect(analytics.user().anonymousId()).toBe(anonymousId);
    expect(page.cookies.get('tg_aid')?.value).toBe(anonymousId);
  });

  test('opt-out: works until a denial, which erases', async () => {
    const analytics = open({ consent: { mode: 'opt-out' } });
    void analytics.track('a');
    await settle();
    void analytics.track('queued');
    analytics.consent(false);
    await settle();
    expect(hub.events().map(({ event }) => event)).toEqual(['a']);
    expect(stored().every((key) => key === 'tg_consent')).toBe(true);
    analytics.consent(true);
    void analytics.track('again');
    await settle();
    expect(last().event).toBe('again');
  });

  test('categories: all required ones, and stamped', async () => {
    const analytics = open({ consent: { mode: 'opt-in', require: ['analytics'] } });
    analytics.consent({ analytics: false, advertising: true });
    expect(await analytics.track('a')).toBe(null);
    analytics.consent({ analytics: true, advertising: false });
    void analytics.track('b');
    await settle();
    expect(last()).toMatchObject({ event: 'b', context: { consent: { categoryPreferences: { analytics: true, advertising: false } } } });
    expect(analytics.consent()).toEqual({ analytics: true, advertising: false });
  });

  test.each([
    [{ respectDoNotTrack: true }, { doNotTrack: '1' }, 0],
    [{}, { doNotTrack: '1' }, 1],
    [{ respectGlobalPrivacyControl: true }, { globalPrivacyControl: true }, 0],
    [{ respectGlobalPrivacyControl: true, respectDoNotTrack: true }, {}, 1],
  ])('signals of the browser: %o %o', async (settings, navigator, events) => {
    const analytics = open(settings, { navigator });
    void analytics.identify('u');
    await settle();
    expect(hub.events()).toHaveLength(events);
    if (!events) expect(stored()).toEqual([]);
  });
});

describe('leaving', () => {
  test('what waits is sent in a way that outlives the page, within what browsers allow', () => {
    const analytics = open();
    for (let i = 0; i < 40; i++) void analytics.track('E', { text: 'x'.repeat(4_000) }, { messageId: `${i}` });
    page.hide(true);
    const sizes = hub.requests.map(({ body, keepalive }) => [keepalive, JSON.stringify(body).length]);
    expect(sizes.reduce((sum, [, size]) => sum + (size as number), 0)).toBeLessThan(65_536);
    expect(sizes.every(([keepalive]) => keepalive)).toBe(true);
    expect(sizes.length).toBeGreaterThan(0);
  });

  test('an event of the last moment leaves at once', () => {
    const analytics = open();
    page.hide(true);
    page.fire('pagehide');
    void analytics.track('last words');
    expect(hub.requests.at(-1)?.body.batch.map(({ event }) => event)).toEqual(['last words']);
  });

  test('a hidden tab keeps to the pauses, too', async () => {
    hub = openHub(...Array.from({ length: 1_000 }, () => ({ status: 500 })));
    const analytics = open();
    page.hide(true);
    for (let i = 0; i < 600; i++) {
      void analytics.track('E');
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(hub.requests.length).toBeLessThan(10);
    hub.plan = [];
    await vi.advanceTimersByTimeAsync(300_000);
    expect(once(hub.events())).toHaveLength(600);
  });

  test('what was not acknowledged is sent by the next page', async () => {
    hub = openHub(...Array.from({ length: 5 }, () => 'reset' as const));
    const analytics = open();
    void analytics.track('E', {}, { messageId: 'm' });
    page.hide(true);
    page.fire('pagehide');
    await settle();
    hub.plan = [];
    open({}, { storage: page.storage });
    await settle();
    expect(once(hub.events())).toEqual(['m']);
    expect([...page.storage.keys()].filter((key) => key.startsWith('tg_q'))).toEqual([]);
  });

  test('back online it tries at once', async () => {
    hub = openHub(...Array.from({ length: 60 }, () => 'reset' as const));
    const analytics = open();
    void analytics.track('E');
    await vi.advanceTimersByTimeAsync(60_000);
    const before = hub.requests.length;
    hub.plan = [];
    page.fire('online');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(hub.requests.length).toBe(before + 1);
    expect(hub.events()).toHaveLength(1);
  });
});

describe('without a page', () => {
  test('in a worker or on a server it works in memory', async () => {
    page = openPage({ storage: 'denied' });
    for (const name of ['document', 'navigator', 'screen', 'addEventListener']) vi.stubGlobal(name, undefined);
    const analytics = load({ writeKey: 'WK', host: 'https://hub.example.com', fetch: hub.fetch });
    void analytics.page('Home');
    void analytics.track('E');
    await settle();
    expect(hub.events().map(({ type }) => type)).toEqual(['page', 'track']);
    expect(hub.events()[0].context).not.toHaveProperty('page');
  });
});
