import { defineConfig } from 'vitest/config';

const conditions = ['@runtime/source', 'node', 'import', 'module', 'default'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    // A crash in native code (koffi) must cost one file, not the run.
    pool: 'forks',
    execArgv: ['--conditions=@runtime/source', '--expose-gc'],
    include: [
      '{core,sdk}/src/**/*.test.ts',
      'plugins/*/{src,guest}/**/*.test.ts',
      'test/**/*.test.ts',
      'examples/**/*.test.ts',
    ],
    testTimeout: 20_000,
  },
});
