import { defineConfig } from 'vitest/config';

export const config = defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/build.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    fileParallelism: true,
    maxWorkers: 2,
    restoreMocks: true,
    unstubGlobals: true,
  },
});

// eslint-disable-next-line no-restricted-exports -- Vitest looks for a default export
export { config as default };
