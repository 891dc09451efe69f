import { definePlugin } from '@runtime/sdk';
import { greeter } from '../../hello/src/contract.ts';

export default definePlugin({
  name: 'polite-hello',
  provides: [greeter],
  setup(ctx) {
    ctx.provide(greeter, {
      greet: async (name) => `Good day, ${name}. I hope I find you well.`,
    });
  },
});
