/** Notes which public functions of a client are called, so that none is forgotten when it gets more. */

/** @returns the object, and a function that names what was not called of it */
export function covered(object) {
  const called = new Set();
  const proxy = new Proxy(object, {
    get(target, name) {
      const value = target[name];
      if (typeof value !== 'function') return value;
      called.add(name);
      return value.bind(target);
    },
  });
  return [proxy, () => publicFunctions(object).filter((name) => !called.has(name))];
}

function publicFunctions(object) {
  const names = new Set();
  for (let of = object; of && of !== Object.prototype; of = Object.getPrototypeOf(of)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(of))) {
      if (typeof value === 'function' && name !== 'constructor' && !name.startsWith('_')) names.add(name);
    }
  }
  // Functions that the object was given are not its own.
  for (const given of ['tracker']) names.delete(given);
  return [...names].sort();
}
