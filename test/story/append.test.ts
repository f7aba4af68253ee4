import { simulate } from './simulate.ts';

simulate('append');
