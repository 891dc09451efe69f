import { definePlugin, defineState, type Lease } from '@runtime/sdk';
import { z } from 'zod';
import { examplePluginBeforeGreet, examplePluginSeats, examplePluginService, type Guest, SEATS } from './contract.ts';

/** `settings.example-plugin.config` in the configuration of the runtime. Unknown keys are refused. */
const config = z.strictObject({
  greeting: z.string().min(1).default('Hello'),
});

/** What a reload hands to the new code. Raise `schema` when its shape changes, and turn old ones into it in `migrate`. */
const state = defineState({ schema: 1, validate: z.object({ guests: z.array(z.string()) }) });

export default definePlugin({
  name: 'example-plugin',
  provides: [examplePluginService],
  config,
  state,

  setup(ctx) {
    const seats = new Map<string, Lease<bigint>>();

    // A lease belongs to its key: after a reload the same guest gets the same seat again.
    const seatOf = (name: string): number => {
      const lease = seats.get(name) ?? ctx.resources.lease(examplePluginSeats, { key: name });
      seats.set(name, lease);
      return Number(lease.value);
    };
    for (const name of ctx.previous?.state.guests ?? []) seatOf(name);

    const guests = (): readonly Guest[] => Array.from(seats.keys(), (name) => ({ name, seat: seatOf(name) }));

    const greet = async (name: string): Promise<string> => {
      const text = await ctx.hooks.call(examplePluginBeforeGreet, `${ctx.config.greeting}, ${name}!`, name);
      const guest = { name, seat: seatOf(name) };
      ctx.log.info(guest, 'greeted');
      ctx.events.emit('example-plugin:greeted', guest);
      return text;
    };

    ctx.provide(examplePluginService, {
      greet,
      async leave(name) {
        seats.get(name)?.[Symbol.dispose]();
        seats.delete(name);
      },
      guests: async () => guests(),
    });

    // Any plugin may tap a hook; this is what this one has to say itself. Nothing means "no opinion".
    ctx.hooks.tap(examplePluginBeforeGreet, (text) => (seats.size === 0 ? `${text} You are the first.` : undefined));

    ctx.commands.add(
      {
        name: 'example-plugin greet',
        summary: 'greet somebody',
        args: [{ name: 'name', summary: 'whom', required: true }],
        options: { loud: { type: 'boolean', summary: 'in capitals' } },
      },
      async ({ args, options, io }) => {
        const text = await greet(args[0] ?? '');
        await io.out(options.loud ? text.toUpperCase() : text);
      },
    );

    ctx.commands.add({ name: 'example-plugin guests', summary: 'list who has a seat' }, ({ io }) => io.data(guests()));

    // For `runtime doctor`.
    ctx.checks.add('seats', () =>
      seats.size < SEATS
        ? { status: 'ok', found: `${seats.size} of ${SEATS} seats are taken` }
        : { status: 'warn', found: 'all seats are taken', remedy: 'Wait until a guest leaves.' },
    );

    return {
      // All plugins are set up: the time to open sockets and to call others.
      ready: () => ctx.log.info({ seats: SEATS }, 'open'),
      snapshot: () => ({ guests: [...seats.keys()] }),
    };
  },
});
