import type { Analytics } from '../analytics.js';
import type { Properties } from '../message.js';
import type { Plugin } from '../plugin.js';

/**
 * Segment's query-string API: `?ajs_uid=u1&ajs_trait_plan=pro` identifies,
 * `?ajs_event=Clicked&ajs_prop_from=mail` tracks, `?ajs_aid=a1` sets the anonymous id.
 * Anyone who can make someone follow a link can use it; leave it out unless you need it.
 */
export function queryString(): Plugin {
  return {
    name: 'Tidegate query string',
    type: 'utility',
    load(_context, analytics: Analytics) {
      if (typeof location === 'undefined') return;
      const query = new URLSearchParams(location.search);
      const all = (prefix: string): Properties =>
        Object.fromEntries([...query].filter(([key]) => key.startsWith(prefix)).map(([key, value]) => [key.slice(prefix.length), value]));
      const [aid, uid, event] = ['ajs_aid', 'ajs_uid', 'ajs_event'].map((key) => query.get(key));
      if (aid) analytics.setAnonymousId(aid);
      if (uid) void analytics.identify(uid, all('ajs_trait_'));
      if (event) void analytics.track(event, all('ajs_prop_'));
    },
  };
}
