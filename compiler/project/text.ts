/** True for a text that holds a C0 control character or DEL. */
export const isControl = (text: string): boolean => Array.from(text).some((c) => c < ' ' || c === '\u007f');
