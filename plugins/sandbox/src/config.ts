// The settings of the plugin.

import { z } from 'zod';

export const sandboxConfig = z.strictObject({
  enabled: z.boolean().default(true).describe('Whether processes are jailed.'),
  strength: z
    .enum(['required', 'best-effort'])
    .default('best-effort')
    .describe('What becomes of a process whose jail cannot be made: it is not started, or starts with a warning.'),
});
