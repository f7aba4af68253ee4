import { simulate } from './simulate.ts';

simulate('history', 0.06);
simulate('history-delete', 0.03);
simulate('history-ignored', 0.02);
simulate('history-groups', 0.03);
simulate('history-starts', 0.02);
simulate('history-append', 0.03);
simulate('history-groups-append', 0.02);
simulate('history-once', 0.02);
