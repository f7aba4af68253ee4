import { simulate } from './simulate.ts';

simulate('keyed', 0.11);
