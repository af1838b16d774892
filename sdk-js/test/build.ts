import { execFileSync } from 'node:child_process';

/** Tests of what users get run against dist/, which is made anew before them. */
export function setup(): void {
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: new URL('..', import.meta.url), stdio: ['ignore', 'ignore', 'inherit'] });
}
