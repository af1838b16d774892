/** The page as it was when something happened. */
export interface Page {
  path: string;
  referrer: string;
  search: string;
  title: string;
  url: string;
}

/** The page that is open. A canonical link speaks for it, so that one page has one address. */
export function currentPage(): Page {
  return pageOf(location.href, document.referrer, document.title, document.querySelector<HTMLLinkElement>('link[rel=canonical]')?.href);
}

export function pageOf(href: string, referrer: string, title: string, canonical?: string | null): Page {
  const { search } = new URL(href);
  const said = new URL(canonical || href, href);
  said.hash = '';
  said.search ||= search;
  return { path: said.pathname, referrer, search, title, url: said.href };
}

/** Where a visitor comes from, as the address tells. */
export interface Origin {
  /** `utm_*` under Segment's names: utm_campaign is the name. */
  campaign?: Record<string, string>;
  /** What ad networks put behind a click. */
  clickIds?: Record<string, string>;
}

export function originOf(search: string): Origin {
  const origin: Origin = {};
  new URLSearchParams(search).forEach((value, key) => {
    if (key.startsWith('utm_')) (origin.campaign ??= {})[key === 'utm_campaign' ? 'name' : key.slice(4)] = value;
    else if (/clid$|^[gw]braid$|^(li_fat_id|rdt_cid|epik|ScCid)$/.test(key)) (origin.clickIds ??= {})[key] = value;
  });
  return origin;
}

/** What a browser tells about itself without being asked twice. */
export function deviceContext(): Record<string, unknown> {
  const { userAgent, language: locale, userAgentData } = navigator as Navigator & { userAgentData?: unknown };
  const { width, height } = screen;
  return { userAgent, userAgentData, locale, screen: { width, height, density: devicePixelRatio, innerWidth, innerHeight } };
}
