import { isObject, parse } from './text.js';
import { consentKey, type Vault } from './vault.js';

/** What the visitor said to each category: `{analytics: true, advertising: false}`. */
export type Categories = Record<string, boolean>;

/** What the visitor said: to everything at once, or to each category. */
export type Decision = boolean | Categories;

/** Whether events may be collected before and after the visitor decided. */
export interface ConsentSettings {
  /** `opt-in`: nothing leaves and nothing is stored before a grant. `opt-out`: all works until a denial. */
  mode: 'opt-in' | 'opt-out';
  /** With `opt-in`, what becomes of events before the decision: kept in memory (`hold`, the default),
   * sent with an identity that lives in memory only (`anonymous`), or forgotten (`drop`). */
  before?: 'hold' | 'anonymous' | 'drop';
  /** Collection needs all of these granted. Without it, any granted category will do. */
  require?: string[];
}

/** What to do with an event now: send it and remember the visitor, only send it, keep it in memory, forget it. */
export type Verdict = 'store' | 'anonymous' | 'hold' | 'drop';

/** The remembered decision, undefined before there is one. */
export function decisionOf(vault: Vault): Decision | undefined {
  return parse(vault.get(consentKey)) as Decision | undefined;
}

/** A signal of the browser that is to be respected (`refused`) stands over the decision. */
export function judge(settings: ConsentSettings | undefined, refused: boolean | undefined, said: Decision | undefined): Verdict {
  if (refused) return 'drop';
  if (said === undefined) return settings?.mode === 'opt-in' ? (settings.before ?? 'hold') : 'store';
  if (isObject(said)) said = settings?.require?.every((name) => (said as Categories)[name]) ?? Object.values(said).some(Boolean);
  return said ? 'store' : 'drop';
}
