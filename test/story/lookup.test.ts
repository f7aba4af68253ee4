import { simulate } from './simulate.ts';

simulate('lookup', 0.08);
simulate('lookup-once', 0.04);
