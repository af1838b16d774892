/** The IIFE build with every plugin: `tidegate.plugins.autocapture()`, or `plugins: ['autocapture']` in the snippet. */
import { load } from '../core/browser.js';
import { autocapture } from '../plugins/autocapture.js';
import { engagement } from '../plugins/engagement.js';
import { errors } from '../plugins/errors.js';
import { linker } from '../plugins/linker.js';
import { queryString } from '../plugins/query-string.js';
import { webVitals } from '../plugins/web-vitals.js';
import { start, type NamedSettings } from './start.js';

const plugins = { autocapture, engagement, errors, linker, queryString, webVitals };
const byName = { autocapture, engagement, errors, queryString, webVitals };

start(
  ({ plugins: names = [], ...settings }: NamedSettings) =>
    load({ ...settings, plugins: names.filter((name) => name in byName).map((name) => byName[name as keyof typeof byName]()) }),
  { load, plugins },
);
