/**
 * A folder as the place where a server's events wait, so that they survive the
 * process. For runtimes with Node's file system.
 */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ListedStore } from './core/store.js';

/**
 * Keeps each event as one file, written under another name and renamed, so that half
 * of one is never read. An event that was accepted survives the death of the process;
 * against the loss of the machine's power nothing is synced. Several processes may
 * share a folder: each sends its own, and what a dead one left.
 */
export function spool(folder: string): ListedStore {
  mkdirSync(folder, { recursive: true });
  const fileOf = (key: string) => join(folder, encodeURIComponent(key) + suffix);
  return {
    get(key) {
      try {
        return readFileSync(fileOf(key), 'utf8');
      } catch {
        return null; // another process served it
      }
    },
    set(key, value) {
      try {
        const half = fileOf(key) + '.half';
        writeFileSync(half, value, { mode: 0o600 });
        renameSync(half, fileOf(key));
        return true;
      } catch {
        return false; // the disk is full or not ours to write: the event waits in memory
      }
    },
    delete(key) {
      rmSync(fileOf(key), { force: true });
    },
    keys() {
      try {
        return readdirSync(folder).filter((name) => name.endsWith(suffix)).map((name) => decodeURIComponent(name.slice(0, -suffix.length)));
      } catch {
        return [];
      }
    },
  };
}

const suffix = '.event';
