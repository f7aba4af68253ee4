import { RunError } from '../errors.ts';
import { FoundBefore, Reported } from './context.ts';
import { err, printError, printRefusal } from './log.ts';

/** Prints what ended a command. @returns the exit code: 2 found before any connection, 1 after it */
export function printFailure(error: unknown): 1 | 2 {
  if (error instanceof FoundBefore) {
    if (error instanceof Reported) err(error.message);
    else printRefusal(error.message);
    return 2;
  }
  if (error instanceof RunError) {
    printError({ code: error.code, message: error.message, hint: error.hint });
    return 1;
  }
  printError({
    code: 'internal',
    message: error instanceof Error ? error.message : String(error),
    hint: 'This is a mistake of syncline. Please report it with what NODE_DEBUG=syncline adds.',
  });
  if (process.env['NODE_DEBUG'] === 'syncline' && error instanceof Error) err(error.stack ?? '');
  return 1;
}
