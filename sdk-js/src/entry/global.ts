/** The IIFE build without plugins, for a script element. */
import { load } from '../core/browser.js';
import type { Settings } from '../settings.js';
import { start } from './start.js';

start<Settings>(load, { load });
