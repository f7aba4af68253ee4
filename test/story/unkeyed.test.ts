import { simulate } from './simulate.ts';

simulate('unkeyed', 0.11);
