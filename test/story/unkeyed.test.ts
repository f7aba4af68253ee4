import { simulate } from './simulate.ts';

simulate('unkeyed');
