import { Command, CommanderError, Option } from 'commander';
import { VERSION } from '../../schemas/version.ts';
import type { CommonOptions } from './context.ts';
import { printFailure } from './failure.ts';
import { logFormat, printRefusal, setLogFormat } from './log.ts';

type Action = (options: CommonOptions & Record<string, unknown>, args: readonly string[]) => Promise<number>;

/** Parses the command line and runs the command. @returns the exit code: 0 ok, 2 found before any connection, 1 after it */
export async function main(argv: readonly string[]): Promise<number> {
  let code = 0;
  // Read before the flags are parsed, so that what is wrong with them is told in this form too.
  setLogFormat(/ --log-format[ =]json( |$)/.test(` ${argv.join(' ')}`) ? 'json' : 'text');
  const program = new Command('syncline')
    .description('Keeps Mixpanel equal to the warehouse.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => {
        if (logFormat() === 'json') printRefusal(text.replace(/^error: /, '').trimEnd());
        else write(`${text}(run with --help for the flags)\n`);
      },
    });

  const command = (name: string, description: string, load: () => Promise<Action>): Command =>
    program
      .command(name)
      .description(description)
      .option('--project-dir <dir>', 'folder with syncline.yml', '.')
      .option('-t, --target <name>', 'target of syncline.yml (default: its default_target)')
      .option('--vars <yaml>', 'variables, as YAML: "{name: value}"')
      .option('-q, --quiet', 'print results and errors only')
      .addOption(
        new Option('--log-format <form>', 'how stderr looks: lines, or one JSON object a line')
          .choices(['text', 'json'])
          .default('text'),
      )
      .action(async (...all: unknown[]) => {
        const self = all.at(-1) as Command;
        const action = await load();
        code = await action(self.opts(), self.args);
      });
  const selecting = (c: Command): Command =>
    c
      .option('-s, --select <syncs...>', 'name, glob, tag:, kind:, mode:, path: (space = union, comma = intersection)')
      .option('--exclude <syncs...>', 'the same, left out');
  const output = (c: Command): Command =>
    c.addOption(new Option('--output <form>', 'how stdout looks').choices(['text', 'json']).default('text'));
  const connecting = (c: Command): Command =>
    c.option('--lock-timeout <seconds>', 'how long to wait for a database file in use (60)');

  command(
    'init',
    'write a project that runs at once on DuckDB and the sandbox',
    async () => (await import('./init.ts')).init,
  );
  connecting(
    selecting(
      command(
        'lock',
        "read the sources' columns into syncline.lock.json",
        async () => (await import('./lock.ts')).lock,
      ),
    ),
  ).option('--check', 'fail (1) if the warehouse differs from the lock');
  command('validate', 'check the project without connecting', async () => (await import('./validate.ts')).validate);
  output(selecting(command('ls', 'list the syncs', async () => (await import('./ls.ts')).ls)));
  command(
    'compile',
    'write reviewable SQL and plan.json to compiled/<target>/',
    async () => (await import('./compile.ts')).compileCommand,
  )
    .option('--check', 'fail (1) if compiled/<target>/ differs')
    .addOption(new Option('--watch', 'compile at each change of the project, until Ctrl-C').conflicts('check'));
  connecting(selecting(command('setup', 'print the admin SQL', async () => (await import('./setup.ts')).setup))).option(
    '--execute',
    'run it',
  );
  output(
    connecting(
      selecting(
        command(
          'plan',
          'show what apply would do, without writing',
          async () => (await import('./plan.ts')).planCommand,
        ),
      ),
    ),
  )
    .option('--backfill <range>', 'what `apply --backfill` would send: insert times FROM..TO')
    .option('--detailed-exitcode', 'exit 3 when there are changes')
    .option('--out <file>', 'write the preview that `syncline apply FILE` takes')
    .option('--markdown', 'as one comment of a pull request')
    .option(
      '--no-scan',
      'only what the declarations mean otherwise than what was compiled: no connection, no credentials',
    );
  connecting(
    selecting(command('apply', 'find what changed and send it', async () => (await import('./apply.ts')).apply)),
  )
    .argument('[preview]', 'what `plan --out` wrote: refused when plan, lock or state have moved since')
    .option('--threads <n>', 'syncs at a time', '4')
    .option(
      '--due',
      'run only what is due by its `frequency:`, was interrupted, or is compared with a snapshot that nears its end',
    )
    .option('--resend <syncs...>', 'send every row of these syncs again')
    .option('--forward <syncs...>', 'take a changed mapping of these syncs for rows to come, and send nothing for it')
    .option('--abandon <syncs...>', 'give up what an interrupted run of these syncs has still to send')
    .option('--backfill <range>', 'send an append again: insert times FROM..TO, such as 2026-01-01..2026-02-01')
    .option('--fail-fast', 'start no further sync after a failure')
    .option('-y, --yes', 'do not ask before a protected target')
    .option(
      '--allow <ceilings...>',
      'guards of this run only: sync.max_deletes=N, .max_changes=N, .max_rejects=N, .on_empty_source',
    );
  connecting(
    command('show', 'first payloads of a sync, as they would be sent', async () => (await import('./show.ts')).show),
  ).argument('<sync>');
  output(
    connecting(
      selecting(
        command(
          'status',
          'how each sync is, since when, what to do next, its last runs and when it is due',
          async () => (await import('./status.ts')).status,
        ),
      ),
    ),
  );
  output(
    connecting(
      selecting(
        command(
          'rejects',
          'records that were not sent or were refused, with reasons: the first 200 of each sync',
          async () => (await import('./rejects.ts')).rejects,
        ),
      ),
    ),
  ).argument('[syncs...]', 'the same as --select');
  output(
    connecting(
      selecting(
        command(
          'doctor',
          'check files, environment, warehouse and Mixpanel, and change nothing',
          async () => (await import('./doctor.ts')).doctor,
        ),
      ),
    ),
  );
  connecting(
    command(
      'reset',
      'forget what Mixpanel shows: the next apply sends the whole table',
      async () => (await import('./reset.ts')).reset,
    ),
  )
    .argument('<sync>')
    .option('--new-epoch', 'give every event a new id: Mixpanel then has each twice')
    .option('-y, --yes', 'do not ask before a protected target; needed there without a terminal');
  connecting(
    command('destroy', 'drop the staging tables of a sync', async () => (await import('./destroy.ts')).destroy),
  )
    .argument('<sync>')
    .option('--data', 'take back what it put into Mixpanel, too')
    .option('-y, --yes', 'do not ask; needed without a terminal');
  connecting(
    command(
      'force-unlock',
      'release the lease of a dead process',
      async () => (await import('./force-unlock.ts')).forceUnlock,
    ),
  ).argument('<sync>');
  program
    .command('sandbox')
    .description('the local Mixpanel, over HTTP or HTTPS')
    .option('--port <port>', 'port on 127.0.0.1', '8765')
    .option('--file <path>', 'where it keeps what it stores', 'sandbox.duckdb')
    .option('--discard', 'count and answer, store nothing')
    .option('--faults <list>', 'faults to inject, such as 429=0.1,5xx=0.05,reset-after=0.1')
    .option(
      '--project <projects...>',
      'projects it knows, as id:token or id:token:secret (default: one, whatever it is called)',
    )
    .option('--account <accounts...>', 'service accounts it knows, as user:secret (default: all)')
    .option('--lookup-table <tables...>', 'lookup tables that exist, as id or id=name (default: each that is sent)')
    .option('--tls', 'speak HTTPS, with a certificate made at the start')
    .option('--ca-file <path>', 'with --tls: where to write the certificate authority that clients must trust')
    .option('--proxy-port <port>', "with --tls: a CONNECT proxy that leads Mixpanel's hosts here and refuses others")
    .action(async (options: Record<string, string | boolean | string[]>) => {
      code = await (await import('./sandbox.ts')).sandbox(options);
    });

  try {
    await program.parseAsync([...argv]);
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return printFailure(error);
  }
}
