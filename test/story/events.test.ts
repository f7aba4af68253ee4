import { simulate } from './simulate.ts';

simulate('ignored', 0.06);
simulate('options', 0.04);
simulate('once', 0.04);
