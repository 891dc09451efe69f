import { definePlugin } from '@runtime/sdk';
import { z } from 'zod';
import { greeter } from './contract.ts';

export default definePlugin({
  name: 'hello',
  provides: [greeter],
  config: z.strictObject({
    greeting: z.string().min(1).max(100).default('Hello'),
  }),
  setup(ctx) {
    const { greeting } = ctx.config;

    ctx.provide(greeter, {
      async greet(name) {
        ctx.events.emit('hello:greeted', { name, by: ctx.caller() ?? ctx.name });
        return `${greeting}, ${name}.`;
      },
    });

    ctx.commands.add(
      {
        name: 'hello greet',
        summary: 'greet somebody',
        args: [{ name: 'name', summary: 'whom to greet; default: the world' }],
        options: { loud: { type: 'boolean', short: 'l', summary: 'in capital letters' } },
      },
      async ({ args: [name = 'world'], options, io }) => {
        ctx.events.emit('hello:greeted', { name, by: 'the command line' });
        const line = `${greeting}, ${name}.`;
        await io.out(options.loud ? line.toUpperCase() : line);
      },
    );

    return {
      ready() {
        ctx.log.info(`${greeting}, world.`);
      },
    };
  },
});
