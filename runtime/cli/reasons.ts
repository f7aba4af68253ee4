/** Why a row is not sent, by the reason that the compiled rules give it. */
export const REASONS: Readonly<Record<string, string>> = {
  'time-missing': 'its time is NULL, or no time that a calendar has',
  'time-before-1971': 'Mixpanel takes no event before 1971',
  'time-in-future': 'its time is more than an hour ahead; it is tried again by itself',
  'event-missing': 'the name of its event is NULL or blank',
  'user-banned': 'its user id is one that Mixpanel refuses, such as "null", "none" or "anonymous"',
  'device-banned': 'its device id is one that Mixpanel refuses, such as "null", "none" or "anonymous"',
  'id-missing': 'the id of its profile is NULL or blank',
  'insert-time-missing': 'its insert time is NULL, so no run can tell when it came',
  'json-not-object': 'its `json_properties` column holds no JSON object',
  'payload-not-json': 'a value of it makes no valid JSON: text that is none, or NaN in a list',
  'too-many-properties':
    'its event would have 255 properties or more, those of its JSON and the 6 to 8 of every event included',
  'too-large': 'it has more bytes than Mixpanel takes for one record (1 MB)',
};

/** A reason, with what it means; what Mixpanel answered stands for itself. */
export const explained = (reason: string): string => {
  const clause = Object.hasOwn(REASONS, reason) ? REASONS[reason] : undefined;
  return clause === undefined ? reason : `${reason}: ${clause}`;
};
