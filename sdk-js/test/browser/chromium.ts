import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContext } from 'playwright-core';
import { describe } from 'vitest';

const found = [process.env['CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));

/** A describe that needs a browser: skipped loudly where there is none, failed where TIDEGATE_REQUIRE names chromium. */
export const inChromium: typeof describe | typeof describe.skip = (() => {
  if (found) return describe;
  if ((process.env['TIDEGATE_REQUIRE'] ?? '').split(',').includes('chromium')) throw new Error('TIDEGATE_REQUIRE names chromium, and there is none');
  console.warn('\nSKIPPED: the browser tests of sdk-js need Chromium (Debian, Ubuntu: sudo apt-get install chromium), or a path to it in CHROMIUM.\n');
  return describe.skip;
})();

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.test 127.0.0.1'];

export async function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: found as string, headless: true, args });
}

/** A browser whose profile is on disk and can be opened again. */
export async function launchProfile(folder: string): Promise<BrowserContext> {
  return chromium.launchPersistentContext(folder, { executablePath: found as string, headless: true, args });
}

export function profileFolder(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'tidegate-chromium-'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }) };
}
