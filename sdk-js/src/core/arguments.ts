import type { Callback } from '../analytics.js';
import type { Options, Properties } from '../message.js';
import { isObject } from './text.js';

/** A call of analytics.js, whose arguments may be left out from the front, taken apart. */
export interface Call {
  ids: (string | undefined)[];
  data: Properties;
  options: Options;
  callback: Callback | undefined;
}

/** Ids and names stand first, at most `most` of them, then data and options; a function anywhere is the callback. */
export function takeApart(args: unknown[], most: number): Call {
  const callback = args.find((arg) => typeof arg === 'function') as Callback | undefined;
  const rest = args.filter((arg) => typeof arg !== 'function');
  let n = 0;
  // A null may stand for the first of them, and for data or options.
  while (n < Math.min(most, rest.length) && !isObject(rest[n]) && (n === 0 || (rest[n] ?? '') !== '')) n++;
  const [data, options] = rest.slice(n) as [Properties?, Options?];
  return {
    ids: rest.slice(0, n).map((id) => ((id ?? '') === '' ? undefined : String(id as number))),
    data: { ...data },
    options: options ?? {},
    callback,
  };
}
